"""Whether a disk is one to cache on, and has room. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.finding import Finding
from cached.kit.mountinfo import Mount
from cached.kit.units import show_bytes

_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "beegfs", "gpfs", "glusterfs", "9p", "virtiofs", "afs"}
)
_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
# Kubelet collects images from 85 % on, and evicts pods from 90 % on, unless told otherwise.
_KUBELETS_SHARE: Final = 0.15
_FEW_FILES: Final = 10_000
_NVME: Final = (
    "put it on a filesystem of local NVMe: cachectl node-init, or mount one there before the daemon starts"
)


@dataclass(frozen=True, slots=True)
class Room:
    """As the daemon keeps the accounts, in bytes."""

    used: int
    reserved: int
    held: int


@dataclass(frozen=True, slots=True)
class Disk:
    """Sizes in bytes. mount: what the root lies on; None where that is not known. min_free: None where only
    the daemon could tell. files: that the filesystem can have at all, 0 for as many as fit. direct: whether
    O_DIRECT works; None where it could not be tried. with_kubelet: kubelet's own data lie on it, too.
    capacity: that was asked for; None where it is left to the daemon. room: None while no daemon answers.
    """

    root: Path
    mount: Mount | None
    size: int
    free: int
    min_free: int | None
    files: int
    files_free: int
    read_only: bool
    direct: bool | None
    with_kubelet: bool
    capacity: int | None
    room: Room | None

    @property
    def where(self) -> str:
        if self.mount is None:
            return str(self.root)
        return f"{self.mount.kind} on {self.mount.source} at {self.mount.point}"


def missing(root: Path, *, running: bool) -> Finding:
    """running: a daemon answers, so that its root is one that cannot be seen from here."""
    if running:
        return Finding("skipped", "root", f"{root} is not seen from here, where the daemon sees it")
    return Finding(
        "problem", "root", f"there is no {root}", "make it, with its disk mounted, and start the daemon"
    )


def judge(disk: Disk) -> Iterator[Finding]:
    found = [*_of_kind(disk), *_of_neighbours(disk), *_of_room(disk), *_of_files(disk)]
    if disk.read_only:
        found.insert(
            0,
            Finding(
                "problem",
                "root",
                f"{disk.root} is read-only ({disk.where})",
                "see dmesg for a filesystem that failed; mount it read-write, and restart the daemon",
            ),
        )
    if disk.direct is False:
        found.append(
            Finding(
                "warning",
                "root",
                f"{disk.where} knows no O_DIRECT: what is fetched goes through the page cache of all pods",
                "use xfs or ext4 on a local disk",
            )
        )
    yield from found or [Finding("ok", "root", f"{disk.where}, {show_bytes(disk.free)} of it free")]


def _of_kind(disk: Disk) -> Iterator[Finding]:
    if disk.mount is None:
        return
    kind = disk.mount.kind
    if kind in _NETWORK or kind.startswith("fuse"):
        yield Finding("warning", "root", f"{disk.root} lies on a network filesystem, {disk.where}", _NVME)
    elif kind == "overlay":
        yield Finding(
            "warning",
            "root",
            f"{disk.root} lies in a container's own layer: it is slow, and goes with the container",
            "mount a directory of the host there (hostPath)",
        )
    elif kind in _MEMORY:
        yield Finding("warning", "root", f"{disk.root} lies in memory ({kind}): it goes at each boot", _NVME)


def _of_neighbours(disk: Disk) -> Iterator[Finding]:
    least = int(_KUBELETS_SHARE * disk.size)
    if disk.with_kubelet and disk.min_free is not None and disk.min_free < least:
        yield Finding(
            "warning",
            "min_free",
            f"kubelet's data lie on the same disk, of which min_free leaves {show_bytes(disk.min_free)}: from"
            f" {show_bytes(least)} on kubelet collects images, then evicts pods",
            "set min_free to 20%, or above imageGCHighThresholdPercent (Gardener: 50%); or use another disk",
        )


def _of_room(disk: Disk) -> Iterator[Finding]:
    if disk.min_free is None:
        return
    lacking = disk.min_free - disk.free
    if lacking > 0:
        evictable = max(0, disk.room.used - disk.room.held) if disk.room else 0
        stuck = disk.room is not None and evictable < lacking
        yield Finding(
            "problem" if stuck else "warning",
            "room",
            f"{show_bytes(disk.free)} free, {show_bytes(disk.min_free)} must stay free (min_free)"
            + (": nothing can be fetched, since what is here is held" if stuck else ""),
            "others fill this disk: free it; or unpin models, and let leases end (cachectl ls)",
        )
        return
    if disk.room is None or disk.capacity is None:
        return
    reach = disk.room.used + disk.room.reserved + disk.free - disk.min_free
    if reach < disk.capacity // 2:
        yield Finding(
            "warning",
            "room",
            f"capacity is {show_bytes(disk.capacity)}, but others leave room for {show_bytes(reach)}",
            "see what else fills the disk, or set capacity to what is there",
        )


def _of_files(disk: Disk) -> Iterator[Finding]:
    if disk.files and disk.files_free < min(_FEW_FILES, disk.files // 10):
        yield Finding(
            "warning" if disk.files_free else "problem",
            "inodes",
            f"{disk.where} has room for {disk.files_free} more files, of {disk.files}",
            "remove files of others; or make the filesystem anew, with more inodes (mkfs.ext4 -i, or xfs)",
        )
