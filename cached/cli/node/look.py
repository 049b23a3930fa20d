"""Looking at a node: /sys, /proc, and libblkid by way of wipefs. Nothing is changed."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from cached.cli.node.disk import Disk, Signature
from cached.cli.node.found import Found, Mount
from cached.cli.node.mount_unit import unit_path
from cached.cli.node.tools import run
from cached.cli.node.wish import Wish
from cached.core.errors import Denied, DiskFault

_SECTOR = 512  # bytes; /sys counts in these, whatever the disk's own are
_ESCAPES = {r"\040": " ", r"\011": "\t", r"\012": "\n", r"\134": "\\"}


@dataclass(frozen=True, slots=True)
class Places:
    """Where the kernel tells of itself."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")


def look(wish: Wish, places: Places = Places()) -> Found:
    """What is found now. Of disks that are wanted, and of arrays on them, signatures are looked for, too.

    Raises NotConfigured where wipefs is missing, Denied without the right to read a disk, DiskFault for one
    that cannot be read.
    """
    mounts = _mounts(places)
    disks = list(_disks(places, mounts))
    wanted = {disk.name for disk in disks if wish.wants(disk)}
    probed = [_probed(d) if d.name in wanted or set(d.members) & wanted else d for d in disks]
    unit = unit_path(wish.root)
    return Found(
        disks=tuple(probed),
        mount=_mount_of(wish.root, mounts, places),
        taken=wish.root.is_dir() and any(wish.root.iterdir()),
        unit=unit.read_text() if unit.exists() else "",
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of mountinfo."""

    number: str
    point: str
    source: str


def _mounts(places: Places) -> list[_Line]:
    lines = []
    for line in (places.proc / "self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        _, _, number, _, point, *_ = fields.split(" ")
        lines.append(_Line(number, _plain(point), _plain(rest.split(" ")[1])))
    return lines


def _plain(text: str) -> str:
    for escape, character in _ESCAPES.items():
        text = text.replace(escape, character)
    return text


def _mount_of(path: Path, mounts: list[_Line], places: Places) -> Mount:
    """The mount that `path` lies on; of several at one point, the last hides the others."""
    under = [m for m in mounts if path.is_relative_to(m.point)]
    last = max(reversed(under), key=lambda m: len(m.point))
    device = places.sys / "dev/block" / last.number
    disks = frozenset(_beneath(device.resolve())) if device.exists() else frozenset()
    return Mount(last.point, last.source, disks)


def _beneath(device: Path) -> Iterator[str]:
    """The whole disks that a block device stands on."""
    if (device / "partition").exists():
        device = device.parent
    slaves = sorted((device / "slaves").iterdir())
    for slave in slaves:
        yield from _beneath(slave.resolve())
    if not slaves:
        yield device.name


def _disks(places: Places, mounts: list[_Line]) -> Iterator[Disk]:
    swaps = [Path(line.split()[0]).resolve().name for line in _lines(places.proc / "swaps")[1:]]
    for entry in sorted((places.sys / "block").iterdir()):
        if _read(entry / "hidden") == "1":  # one path of an NVMe disk that has several
            continue
        device = entry.resolve()
        parts = [part for part in sorted(device.iterdir()) if (part / "partition").exists()]
        numbers = {_read(each / "dev") for each in (device, *parts)}
        yield Disk(
            name=entry.name,
            size=int(_read(device / "size") or 0) * _SECTOR,
            model=_read(device / "device/model"),
            transport=_transport(device),
            virtual="/devices/virtual/block/" in str(device),
            read_only=_read(device / "ro") == "1",
            swap=any(name in swaps for name in (entry.name, *(part.name for part in parts))),
            partitions=tuple(part.name for part in parts),
            holders=_names(device / "holders", *(part / "holders" for part in parts)),
            members=_names(device / "slaves"),
            mounted_at=tuple(mount.point for mount in mounts if mount.number in numbers),
        )


def _transport(device: Path) -> str:
    """How an NVMe disk is attached; of one with several controllers, how the least local of them is."""
    controllers = (device / "device", *(device / "device").glob("nvme*"))
    found = {_read(each / "transport") for each in controllers} - {""}
    return next(iter(sorted(found - {"pcie"}) or sorted(found)), "")


def _probed(disk: Disk) -> Disk:
    """The disk with what libblkid finds on it, and whether the kernel would give it to us alone."""
    try:
        os.close(os.open(disk.path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
        claimed = False
    except PermissionError:
        raise Denied(f"{disk.path} may not be read", hint="run it as root") from None
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise DiskFault(f"{disk.path} cannot be opened: {error.strerror}") from None
        claimed = True
    found = json.loads(run(("wipefs", "--no-act", "--json", disk.path)) or "{}").get("signatures", ())
    signatures = (Signature(each["type"], each["label"] or "", each["uuid"] or "") for each in found)
    return replace(disk, claimed=claimed, signatures=tuple(signatures))


def _names(*directories: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for each in directories if each.is_dir() for path in each.iterdir()))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _read(path: Path) -> str:
    """The content of an attribute, stripped; empty where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
