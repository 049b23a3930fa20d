"""Which chunk to ask of whom: the rarest, of the least busy."""

from __future__ import annotations

import random

from cached.swarm.bits import Bits, random_bit


class Rarity:
    """How many neighbours hold each chunk, kept up to date as they tell.

    `levels[n]` are the chunks that exactly n neighbours hold, so that the rarest of any set is found by a few
    intersections, and news of many chunks costs no more than news of one.
    """

    def __init__(self, everything: Bits) -> None:
        self.holdings: dict[str, Bits] = {}
        self.levels = [everything]

    def hold(self, member: str, chunks: Bits) -> Bits:
        """`member` holds `chunks`, too; returns those that are news."""
        before = self.holdings.get(member, 0)
        news = rest = chunks & ~before
        self.holdings[member] = before | news
        levels = self.levels
        level = 0
        while rest:
            moved = levels[level] & rest
            level += 1
            if moved:
                rest ^= moved
                levels[level - 1] ^= moved
                if level == len(levels):
                    levels.append(0)
                # What was moved here is out of `rest`, so it is not moved again.
                levels[level] |= moved
        return news

    def lose(self, member: str, chunks: Bits) -> None:
        """`member` does not hold `chunks` any more, or never did."""
        before = self.holdings.get(member, 0)
        rest = chunks & before
        if not rest:
            return
        self.holdings[member] = before ^ rest
        levels = self.levels
        for level in range(1, len(levels)):
            moved = levels[level] & rest
            if moved:
                rest ^= moved
                levels[level] ^= moved
                levels[level - 1] |= moved

    def forget(self, member: str) -> None:
        self.lose(member, self.holdings.get(member, 0))
        self.holdings.pop(member, None)

    def least_busy(self, wanted: Bits, busy: dict[str, float], rng: random.Random) -> str | None:
        """The least busy member that holds any of `wanted`, ties at random; None when nobody of `busy` does.

        The member is picked before the chunk: a new one would else draw all its holder's neighbours to it at
        once while other links stand idle.
        """
        holdings = self.holdings
        best = None
        least = 0.0
        for member, load in busy.items():
            score = load + rng.random()
            if (best is None or score < least) and holdings[member] & wanted:
                best, least = member, score
        return best

    def rarest(self, offered: Bits, rng: random.Random) -> int:
        """Of `offered`, which are not empty, one of those that the fewest hold."""
        return random_bit(next(found for level in self.levels if (found := level & offered)), rng)
