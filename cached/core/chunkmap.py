"""One running number for each chunk of a tree."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

from cached.core.chunks import chunk_count, chunk_size_for, chunk_span
from cached.core.digest import Digest
from cached.core.tree import Tree


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk lies: chunk `index` of `blob`, `length` bytes from `offset` on."""

    blob: Digest
    index: int
    offset: int
    length: int


class ChunkMap:
    """The chunks of a tree, numbered through all its blobs in the order of their names.

    Every node numbers the same tree alike. A blob that stands in the tree twice counts once.
    """

    def __init__(self, tree: Tree) -> None:
        self._sizes = dict(sorted(tree.blobs.items()))
        self._blobs = list(self._sizes)
        counts = [chunk_count(size, chunk_size_for(size)) for size in self._sizes.values()]
        self._starts = [0, *accumulate(counts)]
        self._ranges = {
            blob: range(start, start + count)
            for blob, start, count in zip(self._blobs, self._starts, counts, strict=False)
        }

    @property
    def count(self) -> int:
        """Chunks in all."""
        return self._starts[-1]

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(self._sizes.values())

    def locate(self, number: int) -> Place:
        """Raises IndexError for a number that no chunk has."""
        if not 0 <= number < self.count:
            raise IndexError(f"chunk {number} of {self.count}")
        place = bisect_right(self._starts, number) - 1
        blob = self._blobs[place]
        index = number - self._starts[place]
        size = self._sizes[blob]
        return Place(blob, index, *chunk_span(index, size, chunk_size_for(size)))

    def number(self, blob: Digest, index: int) -> int:
        """Raises KeyError or IndexError when the tree has no such chunk."""
        return self._ranges[blob][index]

    def range(self, blob: Digest) -> range:
        """The numbers of the chunks of `blob`, empty when it is empty. Raises KeyError."""
        return self._ranges[blob]
