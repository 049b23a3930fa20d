"""What chunks hash to, as far as anybody told."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping

from cached.swarm.bits import Bits, bits_of, each_bit, lowest
from cached.swarm.messages import Hash
from cached.swarm.seats import Seat

AT_ONCE = 4096
"""Hashes in one message, at most."""


class HashBook:
    """All hashes known, and those that not all members were told yet.

    The first word on a chunk stands until somebody reads it from the source again and says otherwise: members
    that verify a blob whole find out when the first read was wrong, and read again.
    """

    def __init__(self) -> None:
        self.known: Bits = 0
        self._hashes: dict[int, Hash] = {}
        self._asked: Bits = 0
        self._fresh: dict[int, Hash] = {}

    @property
    def has_fresh(self) -> bool:
        return bool(self._fresh)

    def learn(self, hashes: Mapping[int, Hash], allowed: Bits, read: Bits) -> dict[int, Hash]:
        """Take what is news of `allowed` chunks, and return it. read: those that were just read."""
        allowed &= read | ~self.known
        news = {
            chunk: value
            for chunk, value in hashes.items()
            if chunk >= 0 and allowed >> chunk & 1 and self._hashes.get(chunk) != value
        }
        self._hashes |= news
        self._fresh |= news
        self.known |= bits_of(news)
        return news

    def take_fresh(self) -> dict[int, Hash]:
        """What was learnt since this was asked last."""
        fresh, self._fresh = self._fresh, {}
        return fresh

    def batches(self, chunks: Bits) -> Iterator[dict[int, Hash]]:
        """The hashes of `chunks`, message by message."""
        rest = chunks & self.known
        while rest:
            some = lowest(rest, AT_ONCE)
            rest ^= some
            yield {chunk: self._hashes[chunk] for chunk in each_bit(some)}

    def ask_again(self) -> None:
        """Who was asked had time to answer."""
        self._asked = 0

    def wanted(
        self, held: Bits, seats: Iterable[tuple[str, Seat]], rng: random.Random
    ) -> Iterator[tuple[str, Bits]]:
        """Whom to ask for what nobody told yet, nor was asked for; another holder each time."""
        lacking = held & ~self.known & ~self._asked
        if not lacking:
            return
        shuffled = list(seats)
        rng.shuffle(shuffled)
        for member, seat in shuffled:
            asked = lowest(seat.have & lacking, AT_ONCE)
            if asked:
                lacking ^= asked
                self._asked |= asked
                yield member, asked
