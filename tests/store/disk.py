"""What the tests of the disk side share: chunks in memory, data to fetch, and real filesystems to fail on."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.chunks import chunk_span
from cached.core.digest import Digest
from cached.store import blobs
from cached.store.aligned import allocate, round_up
from cached.store.layout import Layout
from cached.store.stage import Stage

CHUNK = 4096


class Pool:
    """Buffers that count: `spare` more may be retained; `held` is what nobody has given back."""

    def __init__(self, spare: int = 0) -> None:
        self.spare = spare
        self.held = 0
        self.lock = threading.Lock()

    def buffer(self, data: bytes) -> ReceivedChunk:
        return ReceivedChunk(self, data)


class ReceivedChunk:
    """Implements `cached.core.sink.Buffer`; its memory is overwritten when the last hold is given up."""

    def __init__(self, pool: Pool, data: bytes) -> None:
        self._pool = pool
        self._holds = 1
        self._retained = 0
        self._block = allocate(round_up(len(data)))
        self._block[:] = b"\xee" * len(self._block)  # what an earlier chunk left
        self._block[: len(data)] = data
        self._length = len(data)
        with pool.lock:
            pool.held += 1

    @property
    def view(self) -> memoryview:
        return self._block[: self._length]

    @property
    def block(self) -> memoryview:
        return self._block

    def try_retain(self) -> bool:
        with self._pool.lock:
            if not self._pool.spare:
                return False
            self._pool.spare -= 1
            self._retained += 1
            self._holds += 1
            return True

    def release(self) -> None:
        with self._pool.lock:
            assert self._holds, "released more often than held"
            self._holds -= 1
            if not self._holds:
                self._pool.held -= 1
                self._pool.spare += self._retained
                self._block[:] = b"\xdd" * len(self._block)


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def new_layout(root: Path) -> Layout:
    layout = Layout(root)
    blobs.prepare(layout)
    return layout


def put(stage: Stage, data: bytes, indexes: Iterable[int] | None = None, pool: Pool | None = None) -> None:
    """Put these chunks of `data`, or all that are missing, as the transfer engine does."""
    for index in stage.missing() if indexes is None else indexes:
        offset, length = chunk_span(index, len(data), stage.chunk_size)
        chunk = data[offset : offset + length]
        buffer = (pool or Pool()).buffer(chunk)
        try:
            stage.put(index, buffer, blake3(chunk).digest())
        finally:
            buffer.release()


def committed(layout: Layout, data: bytes, chunk_size: int = CHUNK) -> Digest:
    """A blob of `data`, all the way into the store."""
    blob = Digest.sha256(data)
    stage = Stage.open(layout, blob, len(data), chunk_size=chunk_size)
    put(stage, data)
    stage.seal()
    blobs.commit(layout, stage)
    stage.discard()
    return blob


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def mounted(kind: str, where: Path, megabytes: int, options: str = "") -> Iterator[Path]:
    """A real filesystem of its own: tmpfs, ramfs, or ext4 or xfs in a loop file at `where`.img."""
    needed = [f"mkfs.{kind}"] if kind in ("ext4", "xfs") else []
    if os.geteuid() != 0:
        pytest.skip(f"mounting {kind} takes root")
    for tool in needed:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    where.mkdir()
    if needed:
        image = where.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        run(*needed, "-q", image)
        run("mount", "-o", ",".join(filter(None, ["loop", options])), image, where)
    else:
        size = [f"size={megabytes}m"] if kind == "tmpfs" else []
        run("mount", "-t", kind, "-o", ",".join([*size, options or "rw"]), kind, where)
    try:
        yield where
    finally:
        run("umount", where)


@contextmanager
def unprivileged() -> Iterator[Path]:
    """A directory of, and all work done as, a user who is not root."""
    place = Path(tempfile.mkdtemp(prefix="cached-test-"))
    root = os.geteuid() == 0
    if root:
        os.chown(place, 65534, 65534)
        os.seteuid(65534)
    try:
        yield place
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(place)
