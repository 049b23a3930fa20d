from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest

from cached.core.chunks import chunk_span
from cached.core.source import CrcKind
from cached.store.crc import CrcSum, show_crc

from .disk import CHUNK, Pool, some_bytes

# The check values of the catalogue of CRCs: what "123456789" comes to.
CHECK = {
    CrcKind.CRC32: "crc32:cbf43926",
    CrcKind.CRC32C: "crc32c:e3069283",
    CrcKind.CRC64NVME: "crc64nvme:ae8b14860a799888",
}


def no_reads(index: int) -> Iterator[memoryview]:
    raise AssertionError(f"read chunk {index}")


@pytest.mark.parametrize("kind", CrcKind)
def test_each_kind_is_the_one_of_that_name(kind: CrcKind) -> None:
    crc = CrcSum(kind, 9, CHUNK, no_reads)
    crc.offer(0, Pool().buffer(b"123456789"))
    assert crc.finish() == CHECK[kind]


@pytest.mark.parametrize("kind", CrcKind)
def test_any_order_and_any_chunks_come_to_the_same(kind: CrcKind) -> None:
    data = some_bytes(7 * CHUNK + 100)
    whole = CrcSum(kind, len(data), 8 * CHUNK, no_reads)
    whole.offer(0, Pool().buffer(data))

    def reread(index: int) -> Iterator[memoryview]:
        offset, length = chunk_span(index, len(data), CHUNK)
        yield memoryview(data)[offset : offset + 7]
        yield memoryview(data)[offset + 7 : offset + length]

    parts = CrcSum(kind, len(data), CHUNK, reread)
    for index in (7, 2, 0, 5, 1):
        offset, length = chunk_span(index, len(data), CHUNK)
        parts.offer(index, Pool().buffer(data[offset : offset + length]))
    assert parts.finish() == whole.finish()


def test_it_is_the_crc_that_everybody_knows() -> None:
    data = some_bytes(3 * CHUNK + 1)
    crc = CrcSum(CrcKind.CRC32, len(data), CHUNK, no_reads)
    for index in range(4):
        crc.offer(index, Pool().buffer(data[index * CHUNK : (index + 1) * CHUNK]))
    assert crc.finish() == show_crc(CrcKind.CRC32, zlib.crc32(data))


def test_nothing_comes_to_zero() -> None:
    assert CrcSum(CrcKind.CRC64NVME, 0, CHUNK, no_reads).finish() == show_crc(CrcKind.CRC64NVME, 0)
