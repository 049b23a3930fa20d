"""From what was found to what there is to do. Nothing here touches a disk."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from cached.cli.node import making
from cached.cli.node.disk import LABEL, Disk
from cached.cli.node.found import Found
from cached.cli.node.steps import Step
from cached.cli.node.wish import Wish
from cached.core.errors import InUse, NotFound

_EMPTY: Final = "if their data may go, empty them with `wipefs --all DISK`"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do so that the data directory lies on local disks, in this order.

    settled: why there is nothing to do, in words. left: disks that are left alone, by path, and why. again:
    what follows the last step is not known before it is done; look again then.
    """

    steps: tuple[Step, ...] = ()
    settled: str = ""
    left: tuple[tuple[str, str], ...] = ()
    again: bool = False


def plan(found: Found, wish: Wish, uuid: str) -> Plan:
    """What there is to do; `uuid` is that of the filesystem, if one has to be made.

    A disk is written to only if it is known to be blank and nobody uses it; what an earlier run of ours has
    made is taken up where that run ended. Raises NotFound for a disk that was named and is not there, and
    InUse where a filesystem should be made or mounted and something stands against it.
    """
    wanted = [disk for disk in found.disks if wish.wants(disk)]
    if missing := set(wish.disks) - _names(wanted):
        raise NotFound(
            f"no such disk: {', '.join(sorted(missing))}", hint="name whole disks, as `lsblk --nodeps` does"
        )
    if settled := _settled(found, wish, wanted):
        return Plan(settled=settled, left=_left(found, wish, found.mount.disks & _names(wanted)))
    if found.taken:
        raise InUse(
            f"{wish.root} holds files, which a filesystem mounted there would hide",
            hint="stop cached, remove them, and try again: a cache may start cold",
        )
    arrays = [disk for disk in found.disks if _ours(disk, wanted)]
    members = [disk for disk in wanted if disk.array]
    steps: tuple[Step, ...] = ()
    if made := [disk for disk in (*wanted, *arrays) if disk.filesystem]:
        disk = _only(made)
        used, uuid = {disk.name, *disk.members}, disk.filesystem
    elif arrays:
        array = _whole(_only(arrays))
        used, steps = {*array.members}, making.make_on(array, uuid)
    elif members:
        _free(members)
        return Plan(making.assemble(members, _EMPTY), left=_left(found, wish, _names(members)), again=True)
    else:
        blank = _blank(wish, wanted)
        used, steps = _names(blank), making.make_of(blank, uuid)
    return Plan((*steps, *making.mount(wish.root, uuid, found.unit)), left=_left(found, wish, used))


def _settled(found: Found, wish: Wish, wanted: Sequence[Disk]) -> str:
    root, on = wish.root, f"on {found.mount.source}, mounted at {found.mount.point}"
    if found.mount.point == str(root):
        return f"{root} is mounted already, from {found.mount.source}"
    if found.mount.disks and found.mount.disks <= _names(wanted):
        return f"{root} lies on local disks already: {on}"
    return "" if wanted else f"there are no local disks: {root} stays {on}"


def _ours(array: Disk, wanted: Sequence[Disk]) -> bool:
    """Whether it is an array of ours: all its members are wanted, and say so."""
    labels = {disk.array for disk in wanted if disk.name in array.members}
    return (
        bool(array.members) and set(array.members) <= _names(wanted) and len(labels) == 1 and "" not in labels
    )


def _only(ours: Sequence[Disk]) -> Disk:
    paths = ", ".join(disk.path for disk in ours)
    if len(ours) > 1:
        raise InUse(f"more than one is labelled {LABEL}: {paths}", hint=f"keep one; {_EMPTY}")
    if ours[0].use:
        raise InUse(f"{paths} is labelled {LABEL}, but is {ours[0].use}", hint="end that use, and try again")
    return ours[0]


def _whole(array: Disk) -> Disk:
    """An array on which a filesystem may be made: a run that was cut off has left it so."""
    if array.size == 0:
        raise InUse(
            f"the array {array.path} of ours lacks a disk, without which it holds nothing",
            hint=f"bring the disk back, or give the others up: mdadm --stop {array.path}, then "
            f"wipefs --all {' '.join(f'/dev/{name}' for name in array.members)}",
        )
    if not array.blank:
        raise InUse(f"the array {array.path} of ours is not blank: {_against(array)}", hint=_EMPTY)
    return array


def _free(members: Sequence[Disk]) -> None:
    """Raise InUse unless they are members of one array, and of nothing else."""
    paths = ", ".join(disk.path for disk in members)
    if len({disk.array for disk in members}) > 1:
        raise InUse(f"{paths} are members of different arrays of ours", hint=_EMPTY)
    if used := [f"{disk.path} is {disk.use}" for disk in members if disk.use]:
        raise InUse(
            f"our array of {paths} cannot be assembled: {'; '.join(used)}",
            hint="end that use, and try again",
        )


def _blank(wish: Wish, wanted: Sequence[Disk]) -> list[Disk]:
    """The disks to make a filesystem on: all that were named, or those of the models that are blank."""
    blank = [disk for disk in wanted if disk.blank]
    if not blank or (wish.disks and len(blank) < len(wanted)):
        reasons = "; ".join(f"{disk.path} {_against(disk)}" for disk in wanted if not disk.blank)
        raise InUse(
            f"no filesystem is made for {wish.root}: {reasons}",
            hint=f"{_EMPTY}, or mount something at {wish.root} yourself",
        )
    return blank


def _against(disk: Disk) -> str:
    """Why a disk that is wanted is not written to, in words."""
    if disk.use:
        return f"is {disk.use}"
    if disk.content:
        return f"carries {disk.content}"
    return "is read-only" if disk.read_only else "has no size" if disk.size == 0 else "is not needed"


def _left(found: Found, wish: Wish, used: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Every disk that is not used, and why; of those that are no hardware only what was wanted."""
    return tuple(
        (disk.path, _against(disk) if wish.wants(disk) else wish.why_not(disk))
        for disk in found.disks
        if disk.name not in used and (wish.wants(disk) or not disk.virtual)
    )


def _names(disks: Sequence[Disk]) -> set[str]:
    return {disk.name for disk in disks}
