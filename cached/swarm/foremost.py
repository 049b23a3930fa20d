"""Which chunks to ask for when they are wanted from the first on: somebody reads while they arrive."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from cached.swarm.bits import Bits, each_bit, lowest
from cached.swarm.rendezvous import weight

_FIRST: Final = 16  # missing chunks among which those are asked that fetch, too
_OWN: Final = 3  # chunks asked for at a time of those that only complete neighbours hold
_ROUNDS: Final = 6  # turns of all that others may be late with before this node takes theirs


class Foremost:
    """The first of the missing chunks; of those that only complete neighbours hold, this node's turns.

    All who fetch want the same chunks at the same time. Did they all ask a complete neighbour for them, it
    would send each one many times, and they had nothing to give to each other. So each chunk is somebody's
    turn by highest-random-weight hashing, as far as this node knows who fetches, and all others get it from
    there. Found by simulation, as the three numbers were.
    """

    def __init__(self, me: str, everything: Bits) -> None:
        self._me = me
        self._everything = everything
        self._fetching: frozenset[str] = frozenset()
        self._mine: dict[int, bool] = {}
        self._turns: Bits = 0

    def look(self, missing: Bits, holdings: Mapping[str, Bits], avoided: Collection[str]) -> Bits:
        """Which of `missing` to ask for now, when neighbours hold these, of whom some failed lately."""
        fetching = []
        shared = doubtful = complete = 0
        for member, held in holdings.items():
            if member in avoided:
                doubtful |= held
            elif held == self._everything:
                complete = held
            else:
                shared |= held
                fetching.append(member)
        if self._fetching != set(fetching):
            self._fetching = frozenset(fetching)
            self._mine.clear()
        self._turns = self._own(missing & complete & ~shared)
        # What only they could give who failed must not stand in the way of all the rest.
        last_resort = lowest(missing & doubtful & ~(shared | complete), _OWN)
        return lowest(missing & shared, _FIRST) | self._turns | last_resort

    def choose(self, offered: Bits) -> int:
        """The one to begin with: of a complete neighbour what others do not hold."""
        return next(each_bit(offered & self._turns or offered))

    def _own(self, scarce: Bits) -> Bits:
        """Of what no other fetcher holds, the next turns of this node, and what is far behind them."""
        own: Bits = 0
        for chunk in each_bit(scarce):
            if self._is_mine(chunk):
                own |= 1 << chunk
                if own.bit_count() == _OWN:
                    break
        if not own:
            return lowest(scarce, _OWN)
        behind = (own & -own).bit_length() - (scarce & -scarce).bit_length()
        if behind > _ROUNDS * (len(self._fetching) + 1):
            own |= scarce & -scarce
        return own

    def _is_mine(self, chunk: int) -> bool:
        mine = self._mine.get(chunk)
        if mine is None:
            best = max(self._fetching | {self._me}, key=lambda member: weight(str(chunk), member))
            mine = self._mine[chunk] = best == self._me
        return mine
