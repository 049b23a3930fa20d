"""Telling neighbours what was added, in small batches."""

from __future__ import annotations

from cached.swarm.bits import Bits


class Announcing:
    """What each connected neighbour was told. Times in seconds.

    News goes out at once if the last did `every` ago, else when that time is over: quick when chunks are
    slow, few messages when they are quick. A neighbour is not told of what it holds itself.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._told: dict[str, Bits] = {}
        self._quiet_until = 0.0
        self._news = False

    @property
    def due(self) -> float:
        """When `flush` has something to send."""
        return self._quiet_until if self._news else float("inf")

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(self._told)

    def add(self, member: str, have: Bits) -> None:
        """A stream with `member` is open, and `have` goes out on it now."""
        self._told[member] = have

    def remove(self, member: str) -> None:
        self._told.pop(member, None)

    def __contains__(self, member: str) -> bool:
        return member in self._told

    def added(self) -> None:
        """Something was added to what this node has."""
        self._news = True

    def flush(self, now: float, have: Bits, theirs: dict[str, Bits]) -> list[tuple[str, Bits]]:
        """Whom to tell what now; `theirs` is what each holds itself."""
        if now < self.due:
            return []
        self._news = False
        self._quiet_until = now + self._every
        out = []
        for member, told in self._told.items():
            chunks = have & ~told & ~theirs.get(member, 0)
            if chunks:
                out.append((member, chunks))
                self._told[member] = told | chunks
        return out
