"""Which disks node-init may take."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from cached.cli.node.disk import Disk

LOCAL_MODELS: Final = (
    "Amazon EC2 NVMe Instance Storage",
    "nvme_card",  # Google: one controller for all local SSDs, or one each
    "nvme_card[0-9]*",
    "Microsoft NVMe Direct Disk*",
)
# A blank volume that was attached a moment ago, for kubelet to format, looks like any blank disk: whatever
# models the operator names, these are never taken for local.
_NETWORK_MODELS: Final = (
    "Amazon Elastic Block Store",
    "nvme_card-pd",
    "MSFT NVMe Accelerator*",
    "PersistentDisk",
    "Virtual Disk",
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator wants: a filesystem at `root`, on local disks of these models.

    disks: names of disks, such as nvme1n1, that are wanted whatever their model; then no others are.
    """

    root: Path
    models: tuple[str, ...] = LOCAL_MODELS
    disks: tuple[str, ...] = ()

    def wants(self, disk: Disk) -> bool:
        """Whether the disk is one to take, if nothing stands against it."""
        if self.disks:
            return disk.name in self.disks
        return not (disk.virtual or self._remote(disk)) and _matches(disk.model, self.models)

    def why_not(self, disk: Disk) -> str:
        """Why a disk is not wanted, in words."""
        if self.disks:
            return "is not among those that were named"
        kind = "is a network disk" if self._remote(disk) else "is of another model"
        return f"{kind} ({', '.join(filter(None, (disk.model, disk.transport))) or 'nameless'})"

    def _remote(self, disk: Disk) -> bool:
        return disk.transport not in ("", "pcie") or _matches(disk.model, _NETWORK_MODELS)


def _matches(model: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(model, glob) for glob in globs)
