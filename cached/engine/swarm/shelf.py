"""What other members may read of this node's store."""

from __future__ import annotations

from collections import Counter

from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.store.store import Store


class StoreShelf:
    """The blobs of shared trees; implements `cached.core.peer.Shelf`.

    `put` and `take` belong to the event loop. The data server's threads only look whether a blob is in the
    dictionary, which one instruction does.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._trees: Counter[Digest] = Counter()
        self.load = 0

    def put(self, tree: Tree) -> None:
        """Its blobs, as far as they are here, are for others."""
        for blob in tree.blobs:
            self._trees[blob] += 1

    def take(self, tree: Tree) -> None:
        """Undo one `put`; blobs of other trees stay."""
        for blob in tree.blobs:
            self._trees[blob] -= 1
            if not self._trees[blob]:
                del self._trees[blob]

    def open(self, blob: Digest, offset: int, length: int) -> int | None:
        return self._store.open_verified(blob, offset, length) if blob in self._trees else None

    def size(self, blob: Digest) -> int | None:
        return self._store.blob_size(blob) if blob in self._trees else None

    def busy(self, load: int) -> None:
        self.load = load
