"""What node-init finds before it decides."""

from __future__ import annotations

from dataclasses import dataclass

from cached.cli.node.disk import Disk


@dataclass(frozen=True, slots=True)
class Mount:
    """The filesystem that a path lies on. disks: names of the whole disks beneath it, arrays resolved."""

    point: str
    source: str
    disks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """A node's disks and the place where the data directory is to be.

    mount: what the data directory lies on now. taken: it holds files already. unit: the text of the mount
    unit of an earlier run since boot, empty where there is none.
    """

    disks: tuple[Disk, ...]
    mount: Mount
    taken: bool = False
    unit: str = ""
