"""A whole disk, as the kernel and libblkid tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

LABEL: Final = "cached"
"""By which a filesystem or an array of ours is known again."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Something that claims the bytes of a disk: a filesystem, an array's member, a partition table."""

    kind: str
    label: str = ""
    uuid: str = ""

    def __str__(self) -> str:
        return f"{self.kind} labelled {self.label}" if self.label else self.kind


@dataclass(frozen=True, slots=True)
class Disk:
    """A block device that is no partition.

    size: bytes. transport: of NVMe alone, such as pcie or tcp. virtual: no hardware. claimed: somebody has
    it open for himself alone. holders: devices on top of it. members: devices beneath it. mounted_at: also
    of its partitions. signatures: None where nobody looked, which is as good as any.
    """

    name: str
    size: int = 0
    model: str = ""
    transport: str = ""
    virtual: bool = False
    read_only: bool = False
    swap: bool = False
    claimed: bool = False
    partitions: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    mounted_at: tuple[str, ...] = ()
    signatures: tuple[Signature, ...] | None = None

    @property
    def path(self) -> str:
        return f"/dev/{self.name}"

    @property
    def use(self) -> str:
        """Who uses it now, in words; empty when nobody does."""
        if self.mounted_at:
            return f"mounted at {', '.join(self.mounted_at)}"
        if self.swap:
            return "used as swap"
        if self.holders:
            return f"part of {', '.join(self.holders)}"
        return "in use by somebody" if self.claimed else ""

    @property
    def content(self) -> str:
        """What it carries, in words; empty when it is known to carry nothing."""
        if self.partitions:
            return f"partitions ({', '.join(self.partitions)})"
        if self.signatures is None:
            return "something unknown"
        return ", ".join(map(str, self.signatures))

    @property
    def blank(self) -> bool:
        """Whether it may be written to: nothing is on it, and nobody uses it."""
        return not (self.use or self.content or self.read_only or self.size == 0)

    @property
    def filesystem(self) -> str:
        """The UUID of the filesystem of ours that it carries, and nothing beside; else empty."""
        only = self._only("xfs")
        return only.uuid if only and only.label == LABEL else ""

    @property
    def array(self) -> str:
        """The UUID of the array of ours that it is a member of, and nothing beside; else empty."""
        only = self._only("linux_raid_member")
        # mdadm puts the name of the host that made the array before its own, with a colon.
        return only.uuid if only and only.label.rpartition(":")[2] == LABEL else ""

    def _only(self, kind: str) -> Signature | None:
        alone = not self.partitions and self.signatures is not None and len(self.signatures) == 1
        return self.signatures[0] if alone and self.signatures and self.signatures[0].kind == kind else None
