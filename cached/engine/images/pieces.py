"""Bytes of blobs that are here, opened for pullers."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_size_for, chunk_span
from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import Busy, CachedError, Corrupt, DiskFault, NotFound
from cached.engine.images.content import RuntimeBlobs
from cached.engine.images.views import Piece
from cached.kit.pool import Pool
from cached.store.store import Store

log = logging.getLogger(__name__)

_READERS: Final = 4
_BLOCK: Final = 1 << 20  # bytes read at a time; a divisor of every chunk's size
_MOST: Final = 10_000  # blobs that are remembered
_FRESH: Final = 86400.0  # seconds


class Pieces:
    """Opens in threads of its own. Cancelled, it leaves nothing open. Belongs to one event loop.

    Bits rot, and the scrub comes by once a week: a runtime that was given a wrong one could not pull the
    image until then. So blobs that were not found right lately are read and compared before they are given.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._pool = Pool("images", _READERS)
        self._right: OrderedDict[Digest, float] = OrderedDict()
        self._wrong: asyncio.Queue[Digest] = asyncio.Queue(_MOST)

    def is_right(self, blob: Digest) -> bool:
        """Whether a blob was found right not long ago."""
        return self._clock.monotonic() - self._right.get(blob, float("-inf")) < _FRESH

    def found_right(self, blob: Digest) -> None:
        """The whole of a blob was verified just now."""
        self._right[blob] = self._clock.monotonic()
        self._right.move_to_end(blob)
        if len(self._right) > _MOST:
            self._right.popitem(last=False)

    async def arriving(self, blob: Digest, size: int, offset: int, most: int) -> Piece | None:
        """Verified bytes of a blob that is on its way, from `offset` on; None while the first is not here."""
        return await self._open(partial(self._verified, blob, size, offset, most))

    async def stored(self, blob: Digest, size: int, offset: int, most: int) -> Piece:
        """Bytes of a complete blob that was found right. Raises Busy when it has left the node, DiskFault."""
        return _here(await self._open(partial(self._verified, blob, size, offset, most)), blob)

    async def hashes(self, blob: Digest) -> bytes:
        """The BLAKE3 of each chunk of a complete blob, for `checked`. Raises Busy, DiskFault."""
        try:
            return await self._store.blob_hashes(blob)
        except NotFound:
            raise _left(blob) from None

    async def checked(self, blob: Digest, size: int, hashes: bytes, offset: int, most: int) -> Piece:
        """As `stored`, but each chunk is compared with its hash first. Raises Corrupt, too."""
        try:
            return _here(await self._open(partial(self._checked, blob, size, hashes, offset, most)), blob)
        except (Corrupt, DiskFault):
            with suppress(asyncio.QueueFull):
                self._wrong.put_nowait(blob)
            raise

    async def lent(self, lender: RuntimeBlobs, blob: Digest, size: int, offset: int, most: int) -> Piece:
        """Bytes of a blob of the runtime's store. Raises Busy when it has gone from there, DiskFault."""
        return _here(await self._open(partial(_lent, lender, blob, size, offset, most)), blob)

    async def run(self) -> None:
        """Forever: put blobs that were found wrong, or cannot be read, into quarantine."""
        while True:
            blob = await self._wrong.get()
            try:
                await self._store.examine(blob)
            except CachedError as error:
                log.error("a blob cannot be examined", extra={"blob": blob, "reason": str(error)})

    def close(self) -> None:
        self._pool.close()

    async def _open(self, work: Callable[[], Piece | None]) -> Piece | None:
        opening = asyncio.ensure_future(self._pool.run(work))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_unwanted)
            raise

    def _verified(self, blob: Digest, size: int, offset: int, most: int) -> Piece | None:
        length = min(most, size - offset)
        fd = self._store.open_verified(blob, offset, length)
        if fd is None:
            chunk = chunk_size_for(size)
            length = min(length, chunk - offset % chunk)
            fd = self._store.open_verified(blob, offset, length)
        return None if fd is None else Piece(fd, offset, length)

    def _checked(self, blob: Digest, size: int, hashes: bytes, offset: int, most: int) -> Piece | None:
        chunk, end = chunk_size_for(size), min(offset + most, size)
        if end < size and end // chunk * chunk > offset:
            end = end // chunk * chunk  # what is left of the chunk after it is the next piece's
        length = end - offset
        fd = self._store.open_verified(blob, offset, length)
        if fd is None:
            return None
        try:
            for index in range(offset // chunk, chunk_count(end, chunk)):
                if _hash(fd, *chunk_span(index, size, chunk)) != hashes[32 * index : 32 * index + 32]:
                    raise Corrupt(f"blob {blob}: its bytes on this disk are wrong", hint="ask for it again")
        except BaseException:
            os.close(fd)
            raise
        return Piece(fd, offset, length)


def _here(piece: Piece | None, blob: Digest) -> Piece:
    if piece is None:
        raise _left(blob)
    return piece


def _left(blob: Digest) -> Busy:
    return Busy(f"blob {blob} has left this node while it was read", hint="ask for it again")


def _lent(lender: RuntimeBlobs, blob: Digest, size: int, offset: int, most: int) -> Piece | None:
    fd = lender.open(blob) if lender.size(blob) == size else None
    return None if fd is None else Piece(fd, offset, min(most, size - offset))


def _hash(fd: int, offset: int, length: int) -> bytes:
    """The BLAKE3 of these bytes of a file. Raises DiskFault."""
    found, block = blake3(), memoryview(bytearray(min(_BLOCK, length)))
    for at in range(offset, offset + length, _BLOCK):
        piece = block[: min(_BLOCK, offset + length - at)]
        try:
            count = os.preadv(fd, [piece], at)
        except OSError as error:
            raise DiskFault(
                f"a blob cannot be read: {error.strerror}", hint="see dmesg, and check the disk"
            ) from error
        found.update(piece[:count])
    return found.digest()


def _close_unwanted(opening: asyncio.Future[Piece | None]) -> None:
    if not opening.cancelled() and opening.exception() is None and (piece := opening.result()) is not None:
        os.close(piece.fd)
