"""The port between moving bytes and keeping them: transfer fills a sink, the store is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Buffer(Protocol):
    """One received chunk in a page-aligned, reused block of memory."""

    @property
    def view(self) -> memoryview:
        """Exactly the received bytes."""
        ...

    @property
    def block(self) -> memoryview:
        """The whole aligned block, at least as long as `view` and a multiple of 4096 bytes.

        Whoever writes with O_DIRECT may write beyond `view` to round up.
        """
        ...

    def try_retain(self) -> bool:
        """Keep the buffer past the call that received it; False when too few are free. Pair with release."""
        ...

    def release(self) -> None:
        """Give up one hold; the last one returns the memory to its pool."""
        ...


class ChunkSink(Protocol):
    """A blob under construction. All methods block and may be called from several threads."""

    @property
    def size(self) -> int:
        """Bytes of the whole blob."""
        ...

    @property
    def chunk_size(self) -> int: ...

    def missing(self) -> Sequence[int]:
        """Indexes of the chunks still to come, ascending."""
        ...

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        """Write chunk `index` and note its 32-byte BLAKE3. Returns when a kill -9 can no longer undo it.

        Raises NoSpace or DiskFault. The buffer belongs to the caller again afterwards, but for holds
        that the sink took with try_retain.
        """
        ...
