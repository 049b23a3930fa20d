"""Grants outstanding: who reads which chunk of the source, and until when."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from cached.swarm.bits import Bits, each_bit
from cached.swarm.width import Width

_FIRST: Final = 30.0
_LEAST, _MOST = 2.0, 300.0
_PATIENCE: Final = 6.0  # times what a read usually takes
_SMOOTH: Final = 0.2
_MARGIN: Final = 1.0  # seconds for the holder's own cancel to take effect before others may read


@dataclass(frozen=True, slots=True)
class Lease:
    """One chunk granted to one member."""

    member: str
    since: float
    until: float


class Leases:
    """All grants of a swarm. Times in seconds; how long a lease is follows how long reads take."""

    def __init__(self, width: Width) -> None:
        self._leases: dict[int, Lease] = {}
        self._of: dict[str, Bits] = {}
        self._width = width
        self._usual: float | None = None
        self.granted: Bits = 0

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def room(self) -> int:
        """How many more may be granted."""
        return self._width.limit - len(self._leases)

    @property
    def seconds(self) -> float:
        """How long the next lease is to be."""
        return _FIRST if self._usual is None else min(max(_PATIENCE * self._usual, _LEAST), _MOST)

    def of(self, member: str) -> Bits:
        return self._of.get(member, 0)

    def grant(self, now: float, chunk: int, member: str) -> None:
        """The chunk is nobody's else before the lease and a margin are over, or it ends."""
        self._leases[chunk] = Lease(member, now, now + self.seconds + _MARGIN)
        self._of[member] = self._of.get(member, 0) | 1 << chunk
        self.granted |= 1 << chunk

    def fulfilled(self, now: float, member: str, chunks: Bits) -> None:
        """`member` read these; chunks that were not granted to it are passed over."""
        for chunk in each_bit(chunks & self.of(member)):
            lease = self._end(chunk)
            self._learn(now - lease.since)
            self._width.done(now)

    def shorten(self, member: str, until: float) -> None:
        """`member` may be gone; unless it comes back, its leases end at `until`."""
        for chunk in each_bit(self.of(member)):
            lease = self._leases[chunk]
            if lease.until > until:
                self._leases[chunk] = replace(lease, until=until)

    def end(self, member: str, chunks: Bits) -> Bits:
        """`member` gave these up; returns those that it had."""
        ended = chunks & self.of(member)
        for chunk in each_bit(ended):
            self._end(chunk)
        return ended

    def expired(self, now: float) -> Iterable[tuple[str, int]]:
        """End the leases that are over."""
        over = [(lease.member, chunk) for chunk, lease in self._leases.items() if lease.until <= now]
        for _, chunk in over:
            lease = self._end(chunk)
            self._learn(now - lease.since)
        return over

    def _end(self, chunk: int) -> Lease:
        lease = self._leases.pop(chunk)
        self.granted ^= 1 << chunk
        left = self._of[lease.member] ^ 1 << chunk
        if left:
            self._of[lease.member] = left
        else:
            del self._of[lease.member]
        return lease

    def _learn(self, seconds: float) -> None:
        self._usual = seconds if self._usual is None else self._usual + _SMOOTH * (seconds - self._usual)
