"""The chunk journal of a stage: which chunks are on disk, and their BLAKE3.

A header, then records of one size, only ever appended, each with a check value of its own. A torn tail or
a spoilt record is a chunk that must come again, never an error. Nothing is synced on the way: what was
appended survives the death of the process. The machine's death may lose records, or the data that they
speak of, so whoever resumes a stage reads the chunks again before it trusts them.
"""

from __future__ import annotations

import errno
import logging
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.core.chunks import chunk_count
from cached.core.digest import Digest
from cached.store.aligned import open_regular, preallocate

logger = logging.getLogger(__name__)

HASH_BYTES: Final = 32

_MAGIC: Final = b"cachedJ1"
_HEADER: Final = struct.Struct("<8s72sQII")  # magic, blob, size, chunk size, CRC-32 of these
_RECORD: Final = struct.Struct("<I32sI")  # chunk, its BLAKE3, CRC-32 of these
_CHECK_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """What a stage is for; sizes in bytes. Records count only under the very same shape."""

    blob: Digest
    size: int
    chunk_size: int

    @property
    def count(self) -> int:
        return chunk_count(self.size, self.chunk_size)


@dataclass(frozen=True, slots=True)
class Entries:
    """A journal's content: the newest BLAKE3 of each chunk, and the offset at which the last record ends."""

    shape: Shape
    hashes: Mapping[int, bytes]
    end: int

    @property
    def complete(self) -> bool:
        return len(self.hashes) == self.shape.count


def encode_header(shape: Shape) -> bytes:
    fields = _HEADER.pack(_MAGIC, shape.blob.encode(), shape.size, shape.chunk_size, 0)[:-_CHECK_BYTES]
    return fields + zlib.crc32(fields).to_bytes(_CHECK_BYTES, "little")


def encode_record(index: int, blake3: bytes) -> bytes:
    fields = _RECORD.pack(index, blake3, 0)[:-_CHECK_BYTES]
    return fields + zlib.crc32(fields).to_bytes(_CHECK_BYTES, "little")


def decode(data: bytes) -> Entries | None:
    """Read whatever bytes are in a journal's place; None when the header is not whole."""
    if len(data) < _HEADER.size:
        return None
    magic, name, size, chunk_size, check = _HEADER.unpack_from(data)
    if magic != _MAGIC or check != zlib.crc32(data[: _HEADER.size - _CHECK_BYTES]) or not chunk_size:
        return None
    shape = Shape(Digest(name.rstrip(b"\0").decode("ascii", "replace")), size, chunk_size)
    whole = (len(data) - _HEADER.size) // _RECORD.size * _RECORD.size
    end = _HEADER.size + whole
    count = shape.count
    hashes: dict[int, bytes] = {}
    for at, (index, blake3, check) in zip(
        range(_HEADER.size, end, _RECORD.size), _RECORD.iter_unpack(data[_HEADER.size : end]), strict=True
    ):
        if index < count and check == zlib.crc32(data[at : at + _RECORD.size - _CHECK_BYTES]):
            hashes[index] = blake3
    return Entries(shape, hashes, end)


def read(path: Path) -> Entries | None:
    """The journal at `path`; None when there is none that can be read."""
    try:
        with open(open_regular(path, os.O_RDONLY), "rb") as file:
            return decode(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.warning(
            "A chunk journal cannot be read; its chunks count as lost.", extra={"reason": error.strerror}
        )
        return None


class Journal:
    """A journal open for appending. Callers take turns; OSError is raised as is."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def create(cls, path: Path, shape: Shape) -> Journal:
        """Begin a journal where there is none, with room for every record."""
        journal = cls(open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND))
        try:
            preallocate(journal.fd, _HEADER.size + shape.count * _RECORD.size, keep_size=True)
            journal._append(encode_header(shape))
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def resume(cls, path: Path, entries: Entries) -> Journal:
        """Go on after the last whole record of what `read` found."""
        journal = cls(open_regular(path, os.O_WRONLY | os.O_APPEND))
        try:
            os.ftruncate(journal.fd, entries.end)
        except BaseException:
            journal.close()
            raise
        return journal

    def append(self, index: int, blake3: bytes) -> None:
        """Record that chunk `index` is on disk. Once this returns, a kill -9 cannot undo it."""
        self._append(encode_record(index, blake3))

    def close(self) -> None:
        os.close(self.fd)

    def _append(self, data: bytes) -> None:
        written = os.write(self.fd, data)
        if written != len(data):
            # A torn record would put all that follow out of step.
            os.ftruncate(self.fd, os.fstat(self.fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
