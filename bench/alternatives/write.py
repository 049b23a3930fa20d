"""Writers: each puts a chunk at its offset of one preallocated file."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path
from typing import Protocol

from bench.alternatives.variant import Write

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYNC_WAIT_BEFORE, _SYNC_WRITE, _SYNC_WAIT_AFTER = 1, 2, 4


class Writer(Protocol):
    """One file, shared by all threads."""

    def write(self, start: int, view: memoryview) -> None:
        """Write all of `view` at `start`."""

    def finish(self) -> None:
        """Return when the bytes are on the disk."""


class Nothing:
    """Writes nothing: what is left is the network's own limit."""

    def write(self, start: int, view: memoryview) -> None:
        del start, view

    def finish(self) -> None:
        pass


class Plain:
    """pwrite, through the page cache or (with O_DIRECT) around it."""

    def __init__(self, path: Path, size: int, *, flags: int = 0, sparse: bool = False) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        if sparse:
            os.ftruncate(self._fd, size)
        else:
            os.posix_fallocate(self._fd, 0, size)

    def write(self, start: int, view: memoryview) -> None:
        while view:
            count = os.pwrite(self._fd, view, start)
            view, start = view[count:], start + count

    def finish(self) -> None:
        os.fdatasync(self._fd)
        os.close(self._fd)


class Synced(Plain):
    """Buffered, but written out and dropped from the page cache as it goes.

    The fallback where O_DIRECT is missing: without it the page cache (charged
    to the daemon's cgroup) grows by the size of the model.
    """

    def write(self, start: int, view: memoryview) -> None:
        super().write(start, view)
        self._sync(start, len(view), _SYNC_WRITE)
        self._sync(start, len(view), _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER)
        os.posix_fadvise(self._fd, start, len(view), os.POSIX_FADV_DONTNEED)

    def _sync(self, start: int, size: int, flags: int) -> None:
        """sync_file_range(2), which Python's os does not have; ctypes drops the GIL."""
        begin, length = ctypes.c_int64(start), ctypes.c_int64(size)
        if _LIBC.sync_file_range(self._fd, begin, length, ctypes.c_uint(flags)):
            raise OSError(ctypes.get_errno(), "sync_file_range")


def open_writer(name: Write, path: Path, size: int) -> Writer:
    """The file's writer, with the space for `size` bytes taken."""
    if name == "none":
        return Nothing()
    if name == "buffered":
        return Plain(path, size)
    if name == "buffered+sync":
        return Synced(path, size)
    return Plain(path, size, flags=os.O_DIRECT, sparse=name == "direct+sparse")


def aligned_buffer(size: int, *, hugepage: bool) -> mmap.mmap:
    """Private anonymous memory: page-aligned, as O_DIRECT wants, and reusable.

    mmap's default is MAP_SHARED, which is shmem: accounted as page cache.
    """
    buffer = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hugepage:
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return buffer
