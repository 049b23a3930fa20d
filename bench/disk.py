"""What the disk itself can do, and how to leave it quiet."""

from __future__ import annotations

import itertools
import mmap
import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
_BLOCKS_MIB = (4, 8, 16)
_THREADS = (1, 2, 4, 8)
_QUIET_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class WriteShape:
    """How to write: bytes per write, and threads at once."""

    block: int
    threads: int


def best_shape(directory: Path, size: int) -> WriteShape:
    """Try all shapes with `size` bytes each, and take the fastest."""
    shapes = [WriteShape(block * MIB, threads) for block, threads in itertools.product(_BLOCKS_MIB, _THREADS)]
    seconds = {}
    for shape in shapes:
        settle()
        seconds[shape] = write_limit(directory, size, shape)
    return min(seconds, key=seconds.__getitem__)


def write_limit(directory: Path, size: int, shape: WriteShape) -> float:
    """Seconds to write `size` bytes into a preallocated file with O_DIRECT, until they are durable.

    Preallocation counts, since whoever fetches pays it too. The bytes are random, for disks that compress.
    """
    path = directory / "limit"
    block = mmap.mmap(-1, shape.block)
    block.write(os.urandom(shape.block))
    offsets = iter(range(0, size, shape.block))
    lock = threading.Lock()
    failures: list[OSError] = []

    def work(file: int) -> None:
        while not failures:
            with lock:
                offset = next(offsets, None)
            if offset is None:
                return
            try:
                if os.pwrite(file, block, offset) != shape.block:
                    raise OSError("short write")
            except OSError as error:
                failures.append(error)

    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_DIRECT, 0o600)
    try:
        began = time.perf_counter()
        os.posix_fallocate(file, 0, size)
        threads = [threading.Thread(target=work, args=(file,)) for _ in range(shape.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os.fdatasync(file)
        seconds = time.perf_counter() - began
    finally:
        os.close(file)
        path.unlink()
    if failures:
        raise failures[0]
    return seconds


def make_durable(directory: Path) -> None:
    """Wait until every file below `directory` is on the disk."""
    for path in directory.rglob("*"):
        if path.is_file():
            file = os.open(path, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)


def settle() -> None:
    """Write out what is dirty, and let the disk finish with what was deleted."""
    os.sync()
    time.sleep(_QUIET_SECONDS)
