"""Chunks asked for and not here yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cached.swarm.bits import Bits

_SMOOTH = 0.2


@dataclass(slots=True)
class Flight:
    """One chunk asked of one member, or of the source when `member` is None.

    until: when it is given up. late: it takes longer than others do; its slot is free for another.
    """

    chunk: int
    member: str | None
    since: float
    until: float
    late: bool = False


class Flying:
    """All flights of a participant, and how long they usually take. Times in seconds."""

    def __init__(self) -> None:
        self._flights: dict[int, list[Flight]] = {}
        self._busy: dict[str | None, int] = {}
        self.pending: Bits = 0
        self.slots = 0
        self.peer_seconds: float | None = None

    def __iter__(self) -> Iterator[Flight]:
        for flights in self._flights.values():
            yield from flights

    def of(self, chunk: int) -> list[Flight]:
        return self._flights.get(chunk, [])

    def asked_of(self, member: str | None) -> int:
        return self._busy.get(member, 0)

    def find(self, chunk: int, member: str | None) -> Flight | None:
        return next((flight for flight in self.of(chunk) if flight.member == member), None)

    def start(self, chunk: int, member: str | None, now: float, until: float) -> None:
        self._flights.setdefault(chunk, []).append(Flight(chunk, member, now, until))
        self._busy[member] = self._busy.get(member, 0) + 1
        self.pending |= 1 << chunk
        if member is not None:
            self.slots += 1

    def end(self, flight: Flight) -> None:
        flights = self._flights[flight.chunk]
        flights.remove(flight)
        if not flights:
            del self._flights[flight.chunk]
            self.pending ^= 1 << flight.chunk
        left = self._busy[flight.member] - 1
        if left:
            self._busy[flight.member] = left
        else:
            del self._busy[flight.member]
        if flight.member is not None and not flight.late:
            self.slots -= 1

    def delay(self, flight: Flight) -> None:
        """It is late: it goes on, but its slot is free."""
        flight.late = True
        self.slots -= 1

    def took(self, seconds: float) -> None:
        """A neighbour brought a chunk, in so long."""
        mean = self.peer_seconds
        self.peer_seconds = seconds if mean is None else mean + _SMOOTH * (seconds - mean)

    def slowness(self, now: float) -> float | None:
        """What neighbours take for a chunk, by those that came and those that they owe."""
        owed = [now - flight.since for flight in self if flight.member is not None]
        usual = self.peer_seconds
        return max(usual or 0.0, sum(owed) / len(owed)) if owed else usual
