"""What other members may read of this node."""

from __future__ import annotations

import os
from collections import Counter
from typing import Protocol

from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.store.store import Store


class Holder(Protocol):
    """Who has whole blobs beside the store. `hashes` belongs to the event loop, the others to any thread."""

    def size(self, blob: Digest) -> int | None:
        """Bytes of the blob, None when it is not there."""
        ...

    def open(self, blob: Digest) -> int | None:
        """A descriptor that reads it; close it. None when it is not there. Raises DiskFault."""
        ...

    async def hashes(self, blob: Digest) -> bytes:
        """The BLAKE3 of each chunk, in order, 32 bytes each. Raises NotFound, Corrupt, DiskFault."""
        ...


class StoreShelf:
    """The blobs of shared trees; implements `cached.core.peer.Shelf`.

    `put` and `take` belong to the event loop. The data server's threads only look whether a blob is in the
    dictionary, which one instruction does.
    """

    def __init__(self, store: Store, holder: Holder | None = None) -> None:
        """`holder` is asked for what the store does not have."""
        self._store = store
        self._holder = holder
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
        if blob not in self._trees:
            return None
        fd = self._store.open_verified(blob, offset, length)
        if fd is not None or self._holder is None:
            return fd
        fd = self._holder.open(blob)
        if fd is not None and not 0 <= offset <= offset + length <= os.fstat(fd).st_size:
            os.close(fd)
            return None
        return fd

    def size(self, blob: Digest) -> int | None:
        if blob not in self._trees:
            return None
        size = self._store.blob_size(blob)
        return self._holder.size(blob) if size is None and self._holder is not None else size

    async def hashes(self, blob: Digest) -> bytes:
        """The BLAKE3 of each chunk of a complete blob. Raises NotFound, Corrupt, DiskFault."""
        if self._holder is not None and not self._store.has_blob(blob):
            return await self._holder.hashes(blob)
        return await self._store.blob_hashes(blob)

    def busy(self, load: int) -> None:
        self.load = load
