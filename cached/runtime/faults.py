"""The one place where errors of the runtime's disk become the house's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from cached.core.errors import DiskFault

_HINTS = {
    errno.EACCES: "the daemon's user must be able to read containerd's data directory",
    errno.EPERM: "the daemon's user must be able to read containerd's data directory",
    errno.EIO: "the disk of containerd's data directory failed to read: see dmesg",
    errno.EMFILE: "raise the daemon's limit of open files",
}


@contextmanager
def disk_faults(doing: str) -> Iterator[None]:
    """Raise DiskFault in place of any OSError. `doing` says what was under way, and for which blob."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = _HINTS.get(error.errno or 0, "see the daemon's log and dmesg")
        raise DiskFault(f"{doing} failed: {reason}", hint=hint) from error
