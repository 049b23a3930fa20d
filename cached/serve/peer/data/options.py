"""How much the data server gives, and how long it waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Bounds of one DataServer. Times in seconds.

    uploads: ranges sent at once; half as many, at least one, may wait, each for `patience`. bandwidth:
    bytes per second of all uploads, 0 for no bound. longest: bytes of one range. head: time to shake hands,
    and to send a request once its first byte is here. idle: time between requests. stall: time that the
    other end may leave a few hundred KiB untaken; min_rate: bytes per second that it takes over longer times.
    """

    uploads: int = 4
    bandwidth: int = 0
    patience: float = 2.0
    longest: int = 64 << 20
    head: float = 5.0
    idle: float = 60.0
    stall: float = 20.0
    min_rate: int = 16 << 10

    @property
    def connections(self) -> int:
        """Connections kept at once, idle ones too; an address has half of them at most."""
        return 4 * self.uploads + 64
