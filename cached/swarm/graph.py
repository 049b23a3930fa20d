"""Who is whose neighbour."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable


class Graph:
    """A random graph of bounded degree, in which all are joined to all while they are few.

    Each newcomer is joined to three eighths of `degree` others, so that the mean is about three quarters of
    it: enough to stay in one piece when many leave, and little to tell. Of two at random it takes the one
    with fewer neighbours: who has few is done late. `changed` are those whose neighbours are others now.
    """

    def __init__(self, degree: int, rng: random.Random, zone_of: Callable[[str], str]) -> None:
        self.edges: dict[str, set[str]] = {}
        self.changed: set[str] = set()
        self._degree = degree
        self._few = max(3 * degree // 8, 1)
        self._rng = rng
        self._zone_of = zone_of

    def add(self, member: str) -> None:
        self.edges[member] = set()

    def remove(self, member: str) -> None:
        for other in list(self.edges[member]):
            self.part(member, other)
        del self.edges[member]
        self.changed.discard(member)

    def join(self, one: str, other: str) -> bool:
        """False when either has as many neighbours as it may."""
        if one == other or other in self.edges[one]:
            return False
        if max(len(self.edges[one]), len(self.edges[other])) >= self._degree:
            return False
        self.edges[one].add(other)
        self.edges[other].add(one)
        self.changed |= {one, other}
        return True

    def part(self, one: str, other: str) -> None:
        self.edges[one].discard(other)
        self.edges[other].discard(one)
        self.changed |= {one, other}

    def settle(self, member: str, useful: Callable[[str], bool]) -> None:
        """Give `member` neighbours, if it has few: `useful` ones, three in four of its own zone."""
        all_of_them = len(self.edges) <= self._degree // 2 + 1
        wanted = self._degree if all_of_them else self._few
        if len(self.edges[member]) >= min(wanted, len(self.edges) - 1):
            return
        pool = [other for other in self._candidates(member, all_of_them) if useful(other)]
        zone = self._zone_of(member)
        near = [other for other in pool if self._zone_of(other) == zone]
        far = [other for other in pool if self._zone_of(other) != zone]
        first = len(near) if all_of_them or not far else max(3 * self._few // 4, wanted - len(far))
        self._join_until(member, near[:first], wanted)
        self._join_until(member, far, wanted)
        self._join_until(member, near[first:], wanted)

    def _candidates(self, member: str, all_of_them: bool) -> list[str]:
        others = list(self.edges)
        if all_of_them:
            self._rng.shuffle(others)
            return others
        some = self._rng.sample(others, min(len(others), 8 * self._few))
        return [min(pair, key=self._count) for pair in zip(some[::2], some[1::2], strict=False)]

    def _count(self, member: str) -> int:
        return len(self.edges[member])

    def _join_until(self, member: str, others: Iterable[str], wanted: int) -> None:
        for other in others:
            if len(self.edges[member]) >= wanted:
                return
            self.join(member, other)
