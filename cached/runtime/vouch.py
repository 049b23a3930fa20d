"""Finding out what the chunks of a blob hash to that somebody else has stored."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from contextlib import suppress
from typing import Final

from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_size_for, chunk_span
from cached.core.digest import Digest
from cached.core.errors import Corrupt
from cached.kit.pool import Pool
from cached.runtime.faults import disk_faults

_PIECE: Final = 1 << 20  # bytes of memory that a reader takes; a divisor of every chunk's size
_NICE: Final = 10


class Voucher:
    """Reads blobs once, so that they can be offered to nodes that demand the BLAKE3 of each chunk.

    It takes 1 MiB of memory and a thread of low priority for each of `workers` at a time, and leaves the page
    cache to others.
    """

    def __init__(self, workers: int = 1) -> None:
        self._pool = Pool("vouch", workers)

    async def vouch(self, fd: int, size: int, digest: Digest) -> list[bytes]:
        """The BLAKE3 of each chunk, in order, of the `size` bytes that `fd` reads.

        Raises Corrupt when these are not what `digest` says, and DiskFault. The descriptor stays the
        caller's, who may close it at any time. Cancelled, it reads one more piece at most.
        """
        with disk_faults(f"reading blob {digest} of the container runtime"):
            mine = os.dup(fd)
        stop = threading.Event()
        reading = self._pool.executor.submit(_read, mine, size, digest, stop)
        reading.add_done_callback(lambda _: os.close(mine))
        try:
            return await asyncio.wrap_future(reading)
        finally:
            stop.set()

    def close(self) -> None:
        """Whoever waits for something must have been cancelled."""
        self._pool.close()


def _read(fd: int, size: int, digest: Digest, stop: threading.Event) -> list[bytes]:
    """As `vouch`; what it returns once `stop` is set, nobody reads."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
    whole, hashes, chunk_size = hashlib.sha256(), [], chunk_size_for(size)
    block = memoryview(bytearray(min(_PIECE, size)))
    with disk_faults(f"reading blob {digest} of the container runtime"):
        actual = os.fstat(fd).st_size
        if actual != size:
            raise _corrupt(digest, f"it has {actual} bytes, not {size}")
        for index in range(chunk_count(size, chunk_size)):
            offset, length = chunk_span(index, size, chunk_size)
            chunk = blake3()
            for at in range(offset, offset + length, _PIECE):
                if stop.is_set():
                    return []
                piece = block[: min(_PIECE, offset + length - at)]
                if not _fill(fd, piece, at):
                    raise _corrupt(digest, "it was cut short")
                # From the beginning: the kernel caches more than a piece as one, and drops that only whole.
                os.posix_fadvise(fd, 0, at + len(piece), os.POSIX_FADV_DONTNEED)
                whole.update(piece)
                chunk.update(piece)
            hashes.append(chunk.digest())
    if whole.hexdigest() != digest.hex:
        raise _corrupt(digest, "its bytes hash to something else")
    return hashes


def _fill(fd: int, piece: memoryview, offset: int) -> bool:
    """Read as many bytes as `piece` has; False where the file ends before. Raises OSError."""
    done = 0
    while done < len(piece):
        count = os.preadv(fd, [piece[done:]], offset + done)
        if not count:
            return False
        done += count
    return True


def _corrupt(digest: Digest, why: str) -> Corrupt:
    return Corrupt(
        f"blob {digest} of the container runtime is not what its name says: {why}",
        hint="remove the images that have it from the runtime, and pull them again; see dmesg, too",
    )
