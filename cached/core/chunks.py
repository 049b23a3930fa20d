"""How a blob divides into chunks."""

from __future__ import annotations

from typing import Final

MIN_CHUNK: Final = 1 << 20
MAX_CHUNK: Final = 8 << 20
_WANTED_CHUNKS: Final = 32


def chunk_size_for(size: int) -> int:
    """Bytes per chunk of a blob of `size` bytes: a power of two from 1 to 8 MiB.

    It depends on the size alone, so that every node divides the same blob alike. Small blobs get
    small chunks, so that neighbours can share them before they are complete.
    """
    chunk = MIN_CHUNK
    while chunk < MAX_CHUNK and size > chunk * _WANTED_CHUNKS:
        chunk <<= 1
    return chunk


def chunk_count(size: int, chunk_size: int) -> int:
    return -(-size // chunk_size)


def chunk_span(index: int, size: int, chunk_size: int) -> tuple[int, int]:
    """Offset and length in bytes of chunk `index`."""
    offset = index * chunk_size
    return offset, min(chunk_size, size - offset)
