"""The neighbours that the coordinator named, and the streams to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cached.swarm.messages import NeighbourInfo

_FIRST, _LONGEST = 1.0, 30.0
_NEVER: Final = float("inf")


class Neighbourhood:
    """Who is a neighbour, and which streams this node has to open. Times in seconds.

    Of two neighbours the one with the lower address opens the stream between them; one that fails is tried
    again after 1 s, then twice as long each time, up to half a minute.
    """

    def __init__(self, me: str) -> None:
        self._me = me
        self._now: dict[str, NeighbourInfo] = {}
        self._dials: dict[str, tuple[float, float]] = {}

    @property
    def now(self) -> tuple[NeighbourInfo, ...]:
        return tuple(self._now.values())

    def dials(self, member: str) -> bool:
        """Whether it is for this node to open the stream with `member`."""
        return member in self._now and self._me < member

    def info(self, member: str) -> NeighbourInfo | None:
        return self._now.get(member)

    def adopt(self, named: Sequence[NeighbourInfo]) -> tuple[list[str], list[str]]:
        """These are the neighbours now; returns whom to connect to, and who is none any more."""
        named_now = {info.member.address: info for info in named if info.member.address != self._me}
        new = [member for member in named_now if member not in self._now and self._me < member]
        gone = [member for member in self._now if member not in named_now]
        for member in gone:
            self._dials.pop(member, None)
        self._now = named_now
        return new, gone

    def connected(self, member: str) -> None:
        self._dials.pop(member, None)

    def disconnected(self, now: float, member: str) -> None:
        if self.dials(member):
            seconds = min(2 * self._dials.get(member, (0.0, _FIRST / 2))[1], _LONGEST)
            self._dials[member] = now + seconds, seconds

    def to_dial(self, now: float) -> list[str]:
        """Whom to connect to again."""
        due = [member for member, (at, _) in self._dials.items() if at <= now]
        for member in due:
            self._dials[member] = _NEVER, self._dials[member][1]
        return due
