"""One daemon per data directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from cached.core.errors import Busy
from cached.store.faults import disk_faults


class RootLock:
    """The lock of a data directory, from `take` to `release`; it ends with the process in any case."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def take(cls, path: Path) -> RootLock:
        """Lock `path`, and write this process's id into it. Raises Busy, naming the process that has it."""
        with disk_faults("locking the data directory", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.ftruncate(fd, 0)
                os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            except BlockingIOError:
                other = os.pread(fd, 20, 0).decode(errors="replace").strip()
                os.close(fd)
                raise Busy(
                    f"another cached, process {other or 'unknown'}, has the data directory {path.parent}",
                    hint="stop it, or give this daemon another root",
                ) from None
            except BaseException:
                os.close(fd)
                raise
        return cls(fd)

    def release(self) -> None:
        os.close(self._fd)
