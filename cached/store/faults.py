"""The one place where the disk's errors become the house's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cached.core.errors import DiskFault, NoSpace

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_HINTS = {
    errno.EROFS: "the filesystem is read-only: see dmesg for why, then repair and remount it",
    errno.EIO: "the disk failed to read or write: see dmesg, and replace it if it happens again",
    errno.EACCES: "the daemon's user must own the data directory and all below it",
    errno.EPERM: "the daemon's user must own the data directory and all below it",
    errno.ENOENT: "something other than the daemon removed files of the store; restart it to put that right",
    errno.EMLINK: "the filesystem allows no more hardlinks of one file; evict models that share it",
    errno.EXDEV: "the whole data directory must lie on one filesystem",
    errno.EMFILE: "raise the daemon's limit of open files",
}


@contextmanager
def disk_faults(doing: str, where: Path, *, needed: int = 0) -> Iterator[None]:
    """Raise NoSpace or DiskFault in place of any OSError.

    `doing` says what was under way and for what, such as "writing the stage of blob sha256:…"; `where`
    lies on the filesystem in question; `needed` is what was asked of it, in bytes. The paths themselves
    stay out of the message, which pods may read. TimeoutError is an OSError too, and nothing here waits
    for anything but the disk.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno in _FULL:
            raise NoSpace(
                f"{doing} failed: {reason}",
                needed=needed,
                free=free_bytes(where),
                held=0,
                hint="free space on the filesystem of the data directory, or lower the cache's capacity",
            ) from error
        hint = _HINTS.get(error.errno or 0, "see the daemon's log and dmesg")
        raise DiskFault(f"{doing} failed: {reason}", hint=hint) from error


def free_bytes(where: Path) -> int:
    """Bytes that the filesystem at `where`, or at its nearest parent that exists, gives to this user."""
    for place in (where, *where.parents):
        with suppress(OSError):
            stat = os.statvfs(place)
            return stat.f_bavail * stat.f_frsize
    return 0
