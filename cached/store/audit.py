"""Reading a blob again, to see whether the disk still holds what was verified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def read_and_check(
    path: Path, size: int, chunk_size: int, hashes: bytes, *, throttle: Callable[[int], None] | None = None
) -> list[int]:
    """Indexes of the chunks whose BLAKE3 is wrong, ascending; empty when all is well.

    `throttle` is called with a number of bytes before they are read. A file that is not there is wrong
    everywhere; one of another length is wrong in its last chunk at least. Raises DiskFault on EIO.
    """
    raise NotImplementedError
