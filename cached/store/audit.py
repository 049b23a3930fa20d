"""Reading chunks again, to see whether the disk still holds what was verified."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_span
from cached.store.aligned import AlignedFile
from cached.store.faults import disk_faults
from cached.store.journal import HASH_BYTES


def read_and_check(
    path: Path, size: int, chunk_size: int, hashes: bytes, *, throttle: Callable[[int], None] | None = None
) -> list[int]:
    """Indexes of the chunks whose BLAKE3 is wrong, ascending; empty when all is well.

    `hashes` holds 32 bytes for each chunk, in order. `throttle` is called with a number of bytes before
    they are read. A file that is not there is wrong everywhere; one of another length is wrong in its last
    chunk at least, and an empty blob counts as one chunk here. The page cache stays as it is. Raises
    DiskFault when the disk cannot be read.
    """
    count = chunk_count(size, chunk_size)
    with disk_faults("reading a blob to verify it", path):
        try:
            file = AlignedFile(path, os.O_RDONLY)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            return list(range(max(count, 1)))
        try:
            wrong = []
            for index in range(count):
                offset, length = chunk_span(index, size, chunk_size)
                if throttle is not None:
                    throttle(length)
                if not chunk_holds(
                    file, offset, length, hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
                ):
                    wrong.append(index)
            last = max(count - 1, 0)
            if os.fstat(file.fd).st_size != size and last not in wrong:
                wrong.append(last)
            return wrong
        finally:
            file.close()


def chunk_holds(file: AlignedFile, offset: int, length: int, expected: bytes) -> bool:
    """Whether these bytes on disk have this BLAKE3. Raises OSError."""
    actual = blake3()
    for piece in file.pieces(offset, length):
        actual.update(piece)
    return actual.digest() == expected
