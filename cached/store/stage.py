"""A stage: a blob under construction."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cached.core.chunks import chunk_count, chunk_span
from cached.core.digest import Digest
from cached.core.errors import Corrupt, DiskFault
from cached.core.sink import Buffer
from cached.core.source import CrcKind
from cached.store.aligned import BLOCK, round_up
from cached.store.audit import read_and_check
from cached.store.crc import CrcSum, show_crc
from cached.store.faults import disk_faults
from cached.store.frontier import Frontier
from cached.store.journal import HASH_BYTES, Shape
from cached.store.layout import Layout
from cached.store.staging import Staging, open_staging, remove_staging
from cached.store.whole import WholeCheck


class Stage:
    """Implements `cached.core.sink.ChunkSink`. At most one is open for a blob at a time.

    After an error from `put` or `seal`, close it or discard it; what was verified by then is kept by the
    one and lost by the other.
    """

    @classmethod
    def open(
        cls,
        layout: Layout,
        blob: Digest,
        size: int,
        *,
        chunk_size: int,
        crc: tuple[CrcKind, int] | None = None,
    ) -> Stage:
        """Create the stage of `blob`, or resume it. Sizes in bytes; `chunk_size` is a multiple of 4096.

        The room for all of it is taken here: raises NoSpace, or DiskFault. On resume each journalled chunk
        is read again, and counts only if its BLAKE3 is right; a stage of another size or chunk size, or
        spoilt beyond use, is begun anew. A `crc` is checked where the name of the blob cannot be.
        """
        if chunk_size <= 0 or chunk_size % BLOCK:
            raise ValueError(f"chunk size {chunk_size} is not a multiple of {BLOCK}")
        shape = Shape(blob, size, chunk_size)
        with disk_faults(f"opening the stage of blob {blob}", layout.stages, needed=size):
            staging = open_staging(layout, shape)
        return cls(layout, shape, staging, crc)

    def __init__(
        self, layout: Layout, shape: Shape, staging: Staging, crc: tuple[CrcKind, int] | None
    ) -> None:
        self._layout = layout
        self._shape = shape
        self._file = staging.file
        self._journal = staging.journal
        self._hashes = staging.hashes
        self._verified_bytes = sum(self._span(index)[1] for index in self._hashes)
        self._turn = threading.Condition()
        self._writing: set[int] = set()
        self._sealed = False
        self._closed = False
        self._whole: WholeCheck | None = None
        self._promised = ""
        if shape.blob.names_content:
            self._whole = Frontier(shape.count, self._reread, on_disk=self._hashes)
            self._promised = shape.blob
        elif crc is not None:
            self._whole = CrcSum(crc[0], shape.size, shape.chunk_size, self._reread)
            self._promised = show_crc(*crc)

    @property
    def blob(self) -> Digest:
        return self._shape.blob

    @property
    def size(self) -> int:
        return self._shape.size

    @property
    def chunk_size(self) -> int:
        return self._shape.chunk_size

    @property
    def verified_bytes(self) -> int:
        """Bytes of the chunks that are here."""
        return self._verified_bytes

    @property
    def sealed(self) -> bool:
        """Whether `seal` went well, so that the blob may be committed."""
        return self._sealed

    def missing(self) -> Sequence[int]:
        with self._turn:
            return [index for index in range(self._shape.count) if index not in self._hashes]

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        """As the port says. A chunk that is here already is left as it is.

        Where the blob's SHA-256 is checked, it may hash a few other chunks as well, and wait for hashing
        that is behind: at most some tenths of a second.
        """
        offset, length = self._span(index)
        if not 0 <= index < self._shape.count or len(buffer.view) != length or len(blake3) != HASH_BYTES:
            raise ValueError(f"not chunk {index} of blob {self.blob}: {len(buffer.view)} bytes")
        with self._turn:
            self._turn.wait_for(lambda: index not in self._writing)
            if index in self._hashes:
                return
            if self._closed:
                raise ValueError(f"the stage of blob {self.blob} is closed")
            self._writing.add(index)
        try:
            with disk_faults(f"writing the stage of blob {self.blob}", self._data, needed=length):
                self._file.write(_padded(buffer, length), offset)
                with self._turn:
                    self._journal.append(index, blake3)
                    self._hashes[index] = blake3
                    self._verified_bytes += length
            if self._whole is not None:
                self._whole.offer(index, buffer)
        finally:
            with self._turn:
                self._writing.remove(index)
                self._turn.notify_all()

    def hashes(self) -> Mapping[int, bytes]:
        """The BLAKE3 of each chunk that is here now, 32 bytes each, by index."""
        with self._turn:
            return dict(self._hashes)

    def open_verified(self, offset: int, length: int) -> int | None:
        """A descriptor that reads these bytes, when each chunk of them is here; close it. None otherwise.

        It stays good whatever becomes of the stage. For any thread. Raises DiskFault.
        """
        if not 0 <= offset <= offset + length <= self.size:
            return None
        wanted = range(offset // self.chunk_size, chunk_count(offset + length, self.chunk_size))
        with self._turn:
            if self._closed or not all(index in self._hashes for index in wanted):
                return None
            # Opened by descriptor, not by path: a commit may be moving the file just now. And opened
            # again rather than duplicated, so that its reader is bound to no alignment.
            with disk_faults(f"opening the stage of blob {self.blob}", self._data):
                return os.open(f"/proc/self/fd/{self._file.fd}", os.O_RDONLY | os.O_CLOEXEC)

    def chunk_hashes(self) -> bytes:
        """The BLAKE3 of every chunk, 32 bytes each, in order. All chunks must be here."""
        return b"".join(self._hashes[index] for index in range(self._shape.count))

    def seal(self) -> None:
        """Check the whole blob, and make its bytes final and durable.

        All chunks are here, and every `put` has ended. Raises Corrupt when the whole is not what its name
        or its source promises, DiskFault when the disk is at fault.
        """
        with self._turn:
            if self._closed or self._writing or len(self._hashes) != self._shape.count:
                raise ValueError(f"the stage of blob {self.blob} is not complete")
        with disk_faults(f"sealing the stage of blob {self.blob}", self._data):
            os.ftruncate(self._file.fd, self.size)
            self._check_whole()
            os.fchmod(self._file.fd, 0o444)
            os.fsync(self._file.fd)
            os.fsync(self._journal.fd)
        self._sealed = True

    def close(self) -> None:
        """Let go of files and buffers, once no `put` is running; what is on disk stays. Idempotent."""
        with self._turn:
            if self._closed:
                return
            self._closed = True
            self._turn.wait_for(lambda: not self._writing)
        if self._whole is not None:
            self._whole.close()
        self._journal.close()
        self._file.close()

    def discard(self) -> None:
        """Close, and remove from disk what is left of the stage: all, or its journal after a commit."""
        self.close()
        discard(self._layout, self.blob)

    @property
    def _data(self) -> Path:
        return self._layout.stage_data(self.blob)

    def _span(self, index: int) -> tuple[int, int]:
        return chunk_span(index, self._shape.size, self._shape.chunk_size)

    def _reread(self, index: int) -> Iterator[memoryview]:
        with disk_faults(f"reading the stage of blob {self.blob}", self._data):
            yield from self._file.pieces(*self._span(index))

    def _check_whole(self) -> None:
        actual = self._promised if self._whole is None else self._whole.finish()
        if actual == self._promised:
            return
        if read_and_check(self._data, self.size, self.chunk_size, self.chunk_hashes()):
            raise DiskFault(
                f"blob {self.blob}: the disk does not give back what was written to it",
                hint="see dmesg and check the disk; another fetch writes these chunks again",
            )
        raise Corrupt(
            f"blob {self.blob}: the bytes at its source come to {actual}, and {self._promised} was promised",
            hint="compare the file at the source with its checksum, and upload it again",
        )


def discard(layout: Layout, blob: Digest) -> None:
    """Remove the stage of `blob`, which nobody has open, if it is there. Raises DiskFault."""
    with disk_faults(f"removing the stage of blob {blob}", layout.stages):
        remove_staging(layout.stage(blob))


def _padded(buffer: Buffer, length: int) -> memoryview:
    """The block from the chunk's first byte to the end of its last BLOCK; `seal` cuts the padding off."""
    end = round_up(length)
    block = buffer.block[:end]
    block[length:] = bytes(end - length)
    return block
