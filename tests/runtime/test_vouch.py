"""What chunks hash to, of blobs that are what their names say."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_size_for, chunk_span
from cached.core.digest import Digest
from cached.core.errors import Corrupt, DiskFault
from cached.runtime.vouch import Voucher

MIB = 1 << 20


@pytest.fixture
def voucher() -> Iterator[Voucher]:
    voucher = Voucher()
    yield voucher
    voucher.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "blob"


def written(file: Path, data: bytes) -> bytes:
    file.write_bytes(data)
    return data


def is_open(file: Path) -> bool:
    return any(os.path.realpath(link) == os.path.realpath(file) for link in Path("/proc/self/fd").iterdir())


async def vouched(voucher: Voucher, file: Path, size: int, digest: Digest) -> list[bytes]:
    fd = os.open(file, os.O_RDONLY)
    try:
        return await voucher.vouch(fd, size, digest)
    finally:
        os.close(fd)


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB, 32 * MIB, 32 * MIB + 1])
async def test_each_chunk_has_its_hash(voucher: Voucher, file: Path, size: int) -> None:
    data = written(file, random.Random(size).randbytes(size))
    chunk_size = chunk_size_for(size)
    spans = [chunk_span(index, size, chunk_size) for index in range(chunk_count(size, chunk_size))]
    wanted = [blake3(data[offset : offset + length]).digest() for offset, length in spans]
    assert await vouched(voucher, file, size, Digest.sha256(data)) == wanted
    assert not is_open(file)


async def test_what_is_not_what_its_name_says_is_refused(voucher: Voucher, file: Path) -> None:
    data = random.Random(1).randbytes(2 * MIB + 10)
    digest = Digest.sha256(data)
    wrong = [
        data[:-1] + bytes([data[-1] ^ 1]),
        bytes([data[0] ^ 1]) + data[1:],
        data[:-1],
        data + b"\0",
        b"",
    ]
    for said in wrong:
        written(file, said)
        with pytest.raises(Corrupt, match=digest):
            await vouched(voucher, file, len(data), digest)
    assert not is_open(file)


async def test_a_disk_that_cannot_be_read(voucher: Voucher, file: Path) -> None:
    written(file, b"some")
    fd = os.open(file, os.O_WRONLY)
    try:
        with pytest.raises(DiskFault, match="reading blob"):
            await voucher.vouch(fd, 4, Digest.sha256(b"some"))
    finally:
        os.close(fd)
    with pytest.raises(DiskFault):
        await voucher.vouch(fd, 4, Digest.sha256(b"some"))


async def test_whoever_leaves_stops_the_reading(voucher: Voucher, file: Path) -> None:
    """Of what is being read, and of what waits for its turn; the descriptor may be closed right away."""
    size = 1 << 40
    written(file, b"")
    os.truncate(file, size)  # hours to read
    digest = Digest.sha256(b"")
    first, second = (asyncio.create_task(vouched(voucher, file, size, digest)) for _ in range(2))
    await asyncio.sleep(0.05)
    for task in (second, first):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    after = file.with_name("after")
    written(after, b"some")
    async with asyncio.timeout(10):
        assert len(await vouched(voucher, after, 4, Digest.sha256(b"some"))) == 1
    assert not is_open(file)


async def test_the_page_cache_is_left_to_others(voucher: Voucher, file: Path) -> None:
    data = written(file, random.Random(2).randbytes(64 * MIB))
    fd = os.open(file, os.O_RDWR)
    try:
        os.fsync(fd)
        assert cached_bytes(file) > 0
        await voucher.vouch(fd, len(data), Digest.sha256(data))
        assert cached_bytes(file) < MIB
    finally:
        os.close(fd)


def cached_bytes(file: Path) -> int:
    command = ["fincore", "--bytes", "--noheadings", "--output", "RES", str(file)]
    try:
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    except FileNotFoundError:
        pytest.skip("no fincore: make packages installs util-linux")
