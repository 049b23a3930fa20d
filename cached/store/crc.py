"""The checksum of a whole file, as sources state it, from the checksums of its chunks."""

from __future__ import annotations

from cached.core.chunks import chunk_count, chunk_span
from cached.core.sink import Buffer
from cached.core.source import CrcKind
from cached.store.whole import Reread

_HEX_DIGITS = {CrcKind.CRC32: 8, CrcKind.CRC32C: 8, CrcKind.CRC64NVME: 16}


def show_crc(kind: CrcKind, value: int) -> str:
    """`crc32c:0000abcd`."""
    return f"{kind}:{value:0{_HEX_DIGITS[kind]}x}"


class CrcSum:
    """Implements `WholeCheck`. CRCs of chunks combine, so the order of arrival does not matter."""

    def __init__(self, kind: CrcKind, size: int, chunk_size: int, reread: Reread) -> None:
        from awscrt import checksums  # 40 ms, and only some sources state a CRC

        self._kind = kind
        self._size = size
        self._chunk_size = chunk_size
        self._reread = reread
        self._crc = getattr(checksums, kind)
        self._combine = getattr(checksums, f"combine_{kind}")
        self._of_chunk: dict[int, int] = {}

    def offer(self, index: int, buffer: Buffer) -> None:
        self._of_chunk[index] = self._crc(buffer.view)

    def finish(self) -> str:
        total = 0
        for index in range(chunk_count(self._size, self._chunk_size)):
            crc = self._of_chunk[index] if index in self._of_chunk else self._on_disk(index)
            total = self._combine(total, crc, chunk_span(index, self._size, self._chunk_size)[1])
        return show_crc(self._kind, total)

    def close(self) -> None:
        """It never keeps a buffer."""

    def _on_disk(self, index: int) -> int:
        crc = 0
        for piece in self._reread(index):
            crc = self._crc(piece, crc)
        return crc
