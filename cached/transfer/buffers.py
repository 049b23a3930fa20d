"""Blocks of memory that chunks are received into, used again and again."""

from __future__ import annotations

import mmap
import threading

from cached.core.chunks import MAX_CHUNK


class BufferPool:
    """Page-aligned blocks of MAX_CHUNK bytes, made when first needed.

    At most `working` are taken at a time, and at most `spare` retained beyond the call that received
    them. So retained ones can neither starve the takers nor grow without bound. Thread-safe.
    """

    def __init__(self, working: int, spare: int) -> None:
        self._working = working
        self._spare = spare
        self._free: list[memoryview] = []
        self._taken = 0
        self._retained = 0
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Buffers out, retained ones included."""
        return self._taken

    @property
    def idle(self) -> int:
        """Blocks that wait for use."""
        return len(self._free)

    def take(self, length: int) -> PooledBuffer:
        """A buffer whose view has `length` bytes, MAX_CHUNK at most. The caller releases it."""
        if length > MAX_CHUNK:
            raise ValueError(f"a chunk of {length} bytes is larger than any buffer")
        with self._lock:
            if self._taken - self._retained >= self._working:
                raise RuntimeError("more buffers wanted than turns given")
            self._taken += 1
            block = self._free.pop() if self._free else None
        return PooledBuffer(self, allocate() if block is None else block, length)

    def trim(self) -> None:
        """Give idle blocks back to the system."""
        with self._lock:
            self._free.clear()

    def retain_one(self) -> bool:
        with self._lock:
            if self._retained >= self._spare:
                return False
            self._retained += 1
            return True

    def put_back(self, block: memoryview, *, retained: bool) -> None:
        with self._lock:
            self._taken -= 1
            self._retained -= retained
            self._free.append(block)


class PooledBuffer:
    """Implements `cached.core.sink.Buffer`."""

    def __init__(self, pool: BufferPool, block: memoryview, length: int) -> None:
        self._pool = pool
        self._block = block
        self._length = length
        self._holds = 1
        self._retained = False
        self._lock = threading.Lock()

    @property
    def view(self) -> memoryview:
        return self._block[: self._length]

    @property
    def block(self) -> memoryview:
        return self._block

    def try_retain(self) -> bool:
        with self._lock:
            if not self._retained and not self._pool.retain_one():
                return False
            self._retained = True
            self._holds += 1
            return True

    def release(self) -> None:
        with self._lock:
            self._holds -= 1
            if self._holds > 0:
                return
        if self._holds < 0:
            raise RuntimeError("a buffer was released more often than held")
        self._pool.put_back(self._block, retained=self._retained)


def allocate() -> memoryview:
    """Private memory, page-aligned as O_DIRECT wants it; mmap's default, shared, counts as page cache."""
    return memoryview(mmap.mmap(-1, MAX_CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
