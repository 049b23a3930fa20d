"""The runtime's own blobs, as something that other nodes may have."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import Corrupt, NotFound
from cached.core.runtime import ContentStore
from cached.kit.locks import KeyedLocks

log = logging.getLogger(__name__)

_MOST_KNOWN: Final = 4096

Vouch = Callable[[int, int, Digest], Awaitable[Sequence[bytes]]]
"""From a descriptor, a size and a name to the BLAKE3 of each chunk; raises Corrupt, DiskFault."""


class RuntimeBlobs:
    """What lies in the runtime's store now, and what its chunks hash to.

    Others demand the hash of each chunk. It is found by reading the blob once, when first wanted; a blob that
    is not what its name says is given to nobody. Belongs to one event loop, but for `size` and `open`.
    """

    def __init__(self, store: ContentStore, vouch: Vouch) -> None:
        self._store = store
        self._vouch = vouch
        self._here: dict[Digest, int] = {}
        self._hashes: OrderedDict[Digest, bytes] = OrderedDict()
        self._wrong: set[Digest] = set()
        self._reading: KeyedLocks[Digest] = KeyedLocks()

    @property
    def here(self) -> dict[Digest, int]:
        """The blobs as last looked at, newest first, without those found wrong, and their sizes in bytes."""
        return self._here

    def size(self, blob: Digest) -> int | None:
        """As ContentStore.size, but for blobs that were found wrong."""
        return None if blob in self._wrong else self._store.size(blob)

    def open(self, blob: Digest) -> int | None:
        """As ContentStore.open, but for blobs that were found wrong."""
        return None if blob in self._wrong else self._store.open(blob)

    async def hashes(self, blob: Digest) -> bytes:
        """The BLAKE3 of each chunk, in order, 32 bytes each. Raises NotFound, Corrupt, DiskFault."""
        async with self._reading.hold(blob):
            if blob not in self._hashes:
                self._hashes[blob] = await self._read(blob)
                if len(self._hashes) > _MOST_KNOWN:
                    self._hashes.popitem(last=False)
            return self._hashes[blob]

    async def _read(self, blob: Digest) -> bytes:
        size, fd = self.size(blob), self.open(blob)
        if size is None or fd is None:
            if fd is not None:
                os.close(fd)
            raise NotFound(f"blob {blob} is not in the runtime's store any more")
        try:
            return b"".join(await self._vouch(fd, size, blob))
        except Corrupt as error:
            self._wrong.add(blob)
            self._here.pop(blob, None)
            log.error(
                "a blob of the runtime's store is not what its name says; it is given to nobody",
                extra={"blob": blob, "reason": str(error)},
            )
            raise
        finally:
            os.close(fd)

    async def look(self) -> None:
        """Find out what is there now."""
        found = dict(await self._store.scan())
        self._wrong &= found.keys()
        self._here = {blob: size for blob, size in found.items() if blob not in self._wrong}
        for blob in self._hashes.keys() - found.keys():
            del self._hashes[blob]

    async def follow(self, changed: Callable[[], None]) -> None:
        """Forever: look, and call `changed`, whenever blobs come or go."""
        again = asyncio.Event()
        again.set()

        async def looking() -> None:
            while True:
                await again.wait()
                again.clear()
                await self.look()
                changed()

        async with asyncio.TaskGroup() as group:
            group.create_task(looking())
            group.create_task(self._store.watch(again.set))
