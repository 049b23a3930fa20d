"""A stage: a blob under construction."""

from __future__ import annotations

from collections.abc import Sequence

from cached.core.digest import Digest
from cached.core.sink import Buffer
from cached.core.source import CrcKind
from cached.store.layout import Layout


class Stage:
    """Implements `cached.core.sink.ChunkSink`. Open one per blob at a time."""

    @classmethod
    def open(
        cls, layout: Layout, blob: Digest, size: int, *, chunk_size: int, crc: tuple[CrcKind, int] | None = None
    ) -> Stage:
        """Create the stage of `blob`, or resume it. Takes the room for all of it: raises NoSpace, DiskFault.

        On resume each journalled chunk is read again and counts only if its BLAKE3 is right.
        """
        raise NotImplementedError

    @property
    def blob(self) -> Digest:
        raise NotImplementedError

    @property
    def size(self) -> int:
        raise NotImplementedError

    @property
    def chunk_size(self) -> int:
        raise NotImplementedError

    @property
    def verified_bytes(self) -> int:
        raise NotImplementedError

    def missing(self) -> Sequence[int]:
        raise NotImplementedError

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        raise NotImplementedError

    def chunk_hashes(self) -> bytes:
        """The BLAKE3 of every chunk, 32 bytes each, in order. All chunks must be there."""
        raise NotImplementedError

    def seal(self) -> None:
        """All chunks are there: check the whole, make it final and durable. Raises Corrupt, DiskFault."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of files and buffers; the stage stays on disk and can be resumed. Idempotent."""
        raise NotImplementedError

    def discard(self) -> None:
        """Close, and remove from disk all that is left of the stage (after a commit: the journal)."""
        raise NotImplementedError


def discard(layout: Layout, blob: Digest) -> None:
    """Remove the stage of `blob` from disk, opened by nobody. None there: nothing happens."""
    raise NotImplementedError
