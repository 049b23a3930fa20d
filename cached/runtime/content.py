"""containerd's content store: what it pulled, as files named by their SHA-256."""

from __future__ import annotations

import asyncio
import errno
import heapq
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from cached.core.digest import SHA256, Digest
from cached.kit.pool import Pool
from cached.runtime.faults import disk_faults
from cached.runtime.rest import Rest

log = logging.getLogger(__name__)

_BLOBS: Final = Path("io.containerd.content.v1.content/blobs/sha256")
_ABSENT: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


class ContainerdContent:
    """Implements `cached.core.runtime.ContentStore`. Only reads; a read-only mount of the directory will do.

    There may be no such directory yet, or no more. Symbolic links, and files without a digest for a name, are
    ignored.
    """

    def __init__(self, root: Path, *, most: int = 10_000, poll_seconds: float = 1.0) -> None:
        """root: containerd's data directory. most: blobs that `scan` tells of, at most."""
        self._directory = root / _BLOBS
        self._most = most
        self._poll_seconds = poll_seconds
        self._pool = Pool("runtime-content", 1)

    def size(self, blob: Digest) -> int | None:
        """See ContentStore.size. None, too, where the disk fails; `open` tells of that."""
        try:
            status = os.lstat(self._path(blob))
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def open(self, blob: Digest) -> int | None:
        """See ContentStore.open."""
        with disk_faults(f"opening blob {blob} of the container runtime"):
            try:
                fd = os.open(self._path(blob), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno in _ABSENT:
                    return None
                raise
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            return None

    async def scan(self) -> list[tuple[Digest, int]]:
        """See ContentStore.scan. A directory that cannot be read is logged, and counts as empty."""
        return await self._pool.run(self._newest)

    async def watch(self, changed: Callable[[], None]) -> None:
        """See ContentStore.watch. `changed` is called a first time, too, soon after watching has begun.

        It looks at the directory's own time of change. That tells as much as inotify would, whose instances
        are scarce on a node, and works for a directory that comes, goes or is replaced, too.
        """
        rest = Rest()
        while True:
            if rest.look(await self._pool.run(self._state)):
                changed()
            await asyncio.sleep(self._poll_seconds)

    def close(self) -> None:
        """Wait for what is being read."""
        self._pool.close()

    def _path(self, blob: Digest) -> Path:
        return self._directory / blob.hex

    def _newest(self) -> list[tuple[Digest, int]]:
        try:
            newest = heapq.nlargest(self._most, self._blobs())
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning(
                "cannot read the container runtime's store; nothing of it is offered",
                extra={"path": str(self._directory), "reason": error.strerror},
            )
            return []
        return [(blob, size) for _, blob, size in newest]

    def _blobs(self) -> Iterator[tuple[int, Digest, int]]:
        """When each came, in nanoseconds, its digest, and its size. Raises OSError."""
        with os.scandir(self._directory) as entries:
            for entry in entries:
                blob = Digest.read(f"{SHA256}:{entry.name}")
                if blob is None:
                    continue
                with suppress(FileNotFoundError):  # it was collected just now
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield status.st_mtime_ns, blob, status.st_size

    def _state(self) -> object:
        """Equal as long as nothing comes or goes."""
        try:
            status = os.stat(self._directory)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_mtime_ns
