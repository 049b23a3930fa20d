"""Files read and written past the page cache: O_DIRECT, or the nearest that the filesystem offers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

BLOCK: Final = 4096  # offsets, lengths and memory are multiples of it; no disk in use needs more
_PIECE: Final = 1 << 20  # bytes of memory that a reader takes

_NOT_DIRECT = frozenset({errno.EINVAL, errno.EOPNOTSUPP})
_NOT_OFFERED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE})
_KEEP_SIZE = 1
_WRITE_OUT_AND_WAIT = 1 | 2 | 4  # SYNC_FILE_RANGE_WAIT_BEFORE, _WRITE, _WAIT_AFTER

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def round_up(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def allocate(size: int) -> memoryview:
    """Zeroed memory of `size` bytes that O_DIRECT accepts. Private: shared maps count as page cache."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def open_regular(path: Path, flags: int, mode: int = 0o600) -> int:
    """Open a regular file. Raises OSError (ELOOP) for a symlink, a FIFO or any other thing in its place."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.ELOOP, "not a regular file")
    return fd


def preallocate(fd: int, size: int, *, keep_size: bool = False) -> None:
    """Take the room for the first `size` bytes now, so that no later write can find the disk full.

    With `keep_size` the file's length stays as it is. Where the filesystem cannot do it, nothing happens:
    glibc's posix_fallocate would write to every block instead.
    """
    if size and _libc.fallocate(fd, _KEEP_SIZE if keep_size else 0, 0, size):
        code = ctypes.get_errno()
        if code not in _NOT_OFFERED:
            raise OSError(code, os.strerror(code))


class AlignedFile:
    """One open file. Its methods block, may be called from several threads at once, and raise OSError.

    Buffered where O_DIRECT is refused, at open or at first use; then what was written is on its way to
    the disk, and out of the page cache, before `write` returns.
    """

    def __init__(self, path: Path, flags: int, mode: int = 0o600) -> None:
        try:
            self.fd = open_regular(path, flags | os.O_DIRECT, mode)
            self._direct = True
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            self.fd = open_regular(path, flags, mode)
            self._direct = False

    def write(self, data: memoryview, offset: int) -> None:
        """Write all of `data`; its length, its memory and `offset` are multiples of BLOCK."""
        try:
            self._write_all(data, offset)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
            self._go_buffered()
            self._write_all(data, offset)
        if not self._direct:
            self._write_out(offset, len(data))

    def pieces(self, offset: int, length: int) -> Iterator[memoryview]:
        """Read `length` bytes from `offset` (a multiple of BLOCK), in order, 1 MiB or less at a time.

        Each piece is valid until the next is asked for. Ends early where the file ends.
        """
        block = allocate(min(_PIECE, round_up(length)) or BLOCK)
        end = offset + length
        while offset < end:
            count = min(self._read(block, offset), end - offset)
            if not count:
                return
            if not self._direct:
                os.posix_fadvise(self.fd, offset, count, os.POSIX_FADV_DONTNEED)
            yield block[:count]
            offset += count
            if count % BLOCK:
                return

    def close(self) -> None:
        os.close(self.fd)

    def _read(self, block: memoryview, offset: int) -> int:
        try:
            return os.preadv(self.fd, [block], offset)
        except OSError as error:
            if error.errno not in _NOT_DIRECT:
                raise
        self._go_buffered()
        return os.preadv(self.fd, [block], offset)

    def _write_all(self, data: memoryview, offset: int) -> None:
        while data:
            count = os.pwrite(self.fd, data, offset)
            data, offset = data[count:], offset + count

    def _write_out(self, offset: int, length: int) -> None:
        if _libc.sync_file_range(self.fd, offset, length, _WRITE_OUT_AND_WAIT):
            code = ctypes.get_errno()
            if code not in _NOT_OFFERED:
                raise OSError(code, os.strerror(code))
        os.posix_fadvise(self.fd, offset, length, os.POSIX_FADV_DONTNEED)

    def _go_buffered(self) -> None:
        fcntl.fcntl(self.fd, fcntl.F_SETFL, fcntl.fcntl(self.fd, fcntl.F_GETFL) & ~os.O_DIRECT)
        self._direct = False
