"""The members of a swarm as its coordinator knows them."""

from __future__ import annotations

from dataclasses import dataclass, field

from cached.core.peer import Member
from cached.swarm.bits import Bits
from cached.swarm.messages import NeighbourInfo


@dataclass(slots=True)
class Seat:
    """One member. Times in seconds.

    ready, behind, proven: as it asked last. rest_until: it gets no grant before. tries: for a chunk that it
    is stuck on, how often it was given another neighbour. probed: it was granted what others hold, to see
    whether that helps. accusers: who found it useless lately.
    """

    member: Member
    data_address: str
    have: Bits
    wants: bool
    complete: bool
    ready: int = 0
    behind: bool = False
    proven: bool = False
    probed: bool = False
    rest_until: float = 0.0
    rest: float = 1.0
    tries: dict[int, int] = field(default_factory=dict)
    accusers: set[str] = field(default_factory=set)

    @property
    def info(self) -> NeighbourInfo:
        return NeighbourInfo(self.member, self.data_address, self.complete)


class Holders:
    """How many members hold each chunk; `held` are those that at least one does."""

    def __init__(self, count: int) -> None:
        self._counts = [0] * count
        self.held: Bits = 0

    def add(self, chunks: Bits) -> None:
        self.held |= chunks
        counts = self._counts
        while chunks:
            low = chunks & -chunks
            counts[low.bit_length() - 1] += 1
            chunks ^= low

    def remove(self, chunks: Bits) -> Bits:
        """Returns those that nobody holds any more."""
        orphans = 0
        counts = self._counts
        while chunks:
            low = chunks & -chunks
            chunk = low.bit_length() - 1
            counts[chunk] -= 1
            if not counts[chunk]:
                orphans |= low
            chunks ^= low
        self.held &= ~orphans
        return orphans
