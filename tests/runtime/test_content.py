"""Blobs of a real containerd as others see them, and directories in which all sorts of things lie."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Corrupt, DiskFault
from cached.runtime.content import ContainerdContent
from cached.runtime.vouch import Voucher
from tests.servers.containerd import Containerd
from tests.servers.images import Image, push, runnable
from tests.servers.layers import Noise, layer
from tests.servers.registry import DockerRegistry
from tests.system.disks import need_root

POLL = 0.03

IMAGE = runnable(layer({"noise": Noise(3_000_000, seed=4)}))
OTHER = runnable(layer({"noise": Noise(500_000, seed=5)}))


def digests(image: Image) -> set[Digest]:
    return {Digest(image.digest), *(Digest(blob.digest) for blob in image.blobs)}


@pytest.fixture
def content(tmp_path: Path) -> Iterator[ContainerdContent]:
    content = ContainerdContent(tmp_path, most=3, poll_seconds=POLL)
    yield content
    content.close()


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """The directory of blobs below `content`'s root; it is not there yet."""
    return tmp_path / "io.containerd.content.v1.content/blobs/sha256"


def put(blobs: Path, data: bytes, *, age: float = 0) -> Digest:
    digest = Digest.sha256(data)
    blobs.mkdir(parents=True, exist_ok=True)
    file = blobs / digest.hex
    file.write_bytes(data)
    os.utime(file, (1_000_000_000 - age, 1_000_000_000 - age))
    return digest


def read(content: ContainerdContent, blob: Digest) -> bytes | None:
    fd = content.open(blob)
    if fd is None:
        return None
    with os.fdopen(fd, "rb") as file:
        return file.read()


@asynccontextmanager
async def watching(content: ContainerdContent) -> AsyncIterator[asyncio.Event]:
    """The event is set whenever blobs may have come or gone; the first time has passed."""
    changed = asyncio.Event()
    task = asyncio.create_task(content.watch(changed.set))
    try:
        await told(changed)
        yield changed
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def told(changed: asyncio.Event) -> None:
    async with asyncio.timeout(10):
        await changed.wait()
    changed.clear()


async def comes_to(content: ContainerdContent, changed: asyncio.Event, wanted: set[Digest]) -> None:
    """Wait until these blobs are there, having been told so."""
    await told(changed)
    while {blob for blob, _ in await content.scan()} != wanted:
        await told(changed)


async def test_the_newest_blobs_are_told_of_first(content: ContainerdContent, blobs: Path) -> None:
    ages = {put(blobs, f"blob {age}".encode(), age=age): age for age in (30, 10, 40, 20)}
    newest = sorted(ages, key=lambda blob: ages[blob])
    assert await content.scan() == [(blob, 7) for blob in newest[:3]]
    assert content.size(newest[3]) == 7
    assert read(content, newest[3]) == b"blob 40"


async def test_there_may_be_no_directory(
    content: ContainerdContent, caplog: pytest.LogCaptureFixture
) -> None:
    blob = Digest.sha256(b"")
    assert await content.scan() == []
    assert content.size(blob) is None
    assert content.open(blob) is None
    assert not caplog.records


async def test_whatever_else_lies_there_is_ignored(
    content: ContainerdContent, blobs: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(b"secret")
    put(blobs, b"")
    names = {what: Digest.sha256(what.encode()) for what in ("link", "directory", "fifo")}
    (blobs / names["link"].hex).symlink_to(elsewhere)
    (blobs / names["directory"].hex).mkdir()
    os.mkfifo(blobs / names["fifo"].hex)
    (blobs / "README").write_text("foreign")
    (blobs / names["link"].hex.upper()).write_text("foreign")
    assert await content.scan() == [(Digest.sha256(b""), 0)]
    for what, blob in names.items():
        assert content.size(blob) is None, what
        assert content.open(blob) is None, what


async def test_who_has_a_blob_open_reads_on_when_it_goes(content: ContainerdContent, blobs: Path) -> None:
    blob = put(blobs, b"some bytes")
    fd = content.open(blob)
    assert fd is not None
    (blobs / blob.hex).unlink()
    assert os.pread(fd, 100, 0) == b"some bytes"
    os.close(fd)
    assert content.size(blob) is None
    assert content.open(blob) is None


async def test_a_directory_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    blob = Digest.sha256(b"")
    content = ContainerdContent(tmp_path / ("x" * 300))
    try:
        assert content.size(blob) is None
        with pytest.raises(DiskFault, match=f"opening blob {blob}"):
            content.open(blob)
        with caplog.at_level(logging.WARNING):
            assert await content.scan() == []
    finally:
        content.close()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot read the container runtime's store; nothing of it is offered"
    ]


async def test_a_directory_that_comes_goes_and_is_another(content: ContainerdContent, blobs: Path) -> None:
    async with watching(content) as changed:
        await asyncio.sleep(5 * POLL)
        assert not changed.is_set()
        blob = put(blobs, b"a")
        await told(changed)
        shutil.rmtree(blobs.parents[1])
        await told(changed)
        assert await content.scan() == []
        put(blobs, b"b")
        await told(changed)
        draft = blobs.with_name("draft")
        put(draft, b"a")
        shutil.rmtree(blobs)
        draft.rename(blobs)
        await told(changed)
        assert await content.scan() == [(blob, 1)]
        await asyncio.sleep(5 * POLL)
        assert not changed.is_set()


@pytest.fixture
def mounted(blobs: Path, tmp_path: Path) -> Iterator[Path]:
    """Where the root of `blobs` appears, too, to be read only."""
    need_root()
    blobs.mkdir(parents=True)
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    subprocess.run(["mount", "--bind", "-o", "ro", blobs.parents[2], mounted], check=True)
    yield mounted
    subprocess.run(["umount", mounted], check=True)


async def test_a_read_only_mount_will_do(blobs: Path, mounted: Path) -> None:
    with pytest.raises(OSError, match="Read-only"):
        put(mounted / blobs.relative_to(blobs.parents[2]), b"hostile")
    content = ContainerdContent(mounted, poll_seconds=POLL)
    try:
        async with watching(content) as changed:
            blob = put(blobs, b"new")
            await comes_to(content, changed, {blob})
            assert read(content, blob) == b"new"
    finally:
        content.close()


@pytest.fixture
def offered(registry: DockerRegistry) -> str:
    push(registry.endpoint, "tests/content", "1", IMAGE)
    push(registry.endpoint, "tests/content", "2", OTHER)
    return f"{registry.host}/tests/content"


async def test_what_containerd_pulls_is_there_until_it_collects_it(
    containerd: Containerd, offered: str
) -> None:
    content = ContainerdContent(containerd.content_root, poll_seconds=POLL)
    try:
        async with watching(content) as changed:
            assert await content.scan() == []
            containerd.pull(f"{offered}:1")
            await comes_to(content, changed, digests(IMAGE))
            for blob in IMAGE.blobs:
                assert content.size(Digest(blob.digest)) == blob.size
                assert read(content, Digest(blob.digest)) == blob.data
            containerd.pull(f"{offered}:2")
            await comes_to(content, changed, digests(IMAGE) | digests(OTHER))
            containerd.remove(f"{offered}:1")
            await comes_to(content, changed, digests(OTHER))
    finally:
        content.close()


async def test_what_containerd_has_is_vouched_for(containerd: Containerd, offered: str) -> None:
    containerd.pull(f"{offered}:1")
    content, voucher = ContainerdContent(containerd.content_root), Voucher()
    large = Digest(IMAGE.layers[1].digest)

    async def vouch(blob: Digest, size: int) -> list[bytes]:
        fd = content.open(blob)
        assert fd is not None
        try:
            return await voucher.vouch(fd, size, blob)
        finally:
            os.close(fd)

    try:
        for blob, size in await content.scan():
            assert len(await vouch(blob, size)) == -(-size // (1 << 20))
        with (containerd.blobs / large.hex).open("r+b") as file:
            file.seek(2_500_000)
            file.write(b"a flaw")
        with pytest.raises(Corrupt):
            await vouch(large, IMAGE.layers[1].size)
    finally:
        content.close()
        voucher.close()
