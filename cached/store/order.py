"""Which trees may be evicted, and in which order."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

from cached.core.digest import Digest


class UseOrder:
    """Trees by the number of their last use, lowest first; each number stands for one tree.

    A list kept sorted: the newest use goes to its end at once, and taking one out of the middle moves
    eight bytes for each later one, which is microseconds for all the trees that a node can hold.
    """

    def __init__(self) -> None:
        self._uses: list[int] = []
        self._trees: dict[int, Digest] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def __iter__(self) -> Iterator[Digest]:
        return map(self._trees.__getitem__, self._uses)

    def add(self, use: int, tree: Digest) -> None:
        self._trees[use] = tree
        if not self._uses or use > self._uses[-1]:
            self._uses.append(use)
        else:
            insort(self._uses, use)

    def remove(self, use: int) -> None:
        del self._trees[use]
        del self._uses[bisect_left(self._uses, use)]
