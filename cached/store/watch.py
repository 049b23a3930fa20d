"""Noticing hands that touch the store from outside."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from cached.core.digest import Digest
from cached.core.errors import CachedError
from cached.store import blobs, tables
from cached.store.faults import disk_faults
from cached.store.losses import Losses
from cached.store.pace import Pace
from cached.store.parts import Parts
from cached.store.records import Reason
from cached.store.verify import check_tree

log = logging.getLogger(__name__)

_EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileDeletedEvent,
    FileMovedEvent,
    FileClosedEvent,  # after it was open for writing
    DirDeletedEvent,
    DirMovedEvent,
]
_GATHER: Final = 0.1
_MANY: Final = 10_000
_LIMIT: Final = Path("/proc/sys/fs/inotify/max_user_watches")
_FAN_OUT_DIRECTORIES: Final = 2 * 256


class Watch:
    """Looks closer wherever inotify tells of a deletion, a move or a write below blobs/ or trees/.

    The store's own work raises no alarm: it takes things out of the accounts before it takes them off the
    disk, and only what the accounts hold is looked at. Looking decides, never the event.
    fault: why it does not notice everything; empty when it does.
    """

    def __init__(self, parts: Parts, losses: Losses) -> None:
        self._parts = parts
        self._losses = losses
        self._layout = parts.layout
        self._ledger = parts.state.ledger
        self.fault = ""

    async def run(self) -> None:
        """Forever. Where inotify cannot start, the scrub alone finds what was changed."""
        suspects = Suspects((self._layout.blobs, self._layout.trees))
        try:
            observer = await self._parts.readers.run(self._start, suspects)
        except OSError as error:
            self._warn(error.strerror or str(error))
            await asyncio.Event().wait()
            return
        try:
            await self._look(self._layout.trees)  # what was done to them while nobody watched
            while True:
                await suspects.some.wait()
                await asyncio.sleep(_GATHER)
                for path in suspects.take():
                    await self._look(path)
        finally:
            observer.stop()
            await self._parts.readers.run(observer.join, 5.0)

    def _start(self, suspects: Suspects) -> BaseObserver:
        observer = Observer()
        try:
            for place in (self._layout.blobs, self._layout.trees):
                observer.schedule(suspects, str(place), recursive=True, event_filter=_EVENTS)
            observer.start()
        except BaseException:
            observer.stop()
            raise
        with suppress(OSError, ValueError):
            if int(_LIMIT.read_text()) < _FAN_OUT_DIRECTORIES + len(self._ledger.trees):
                self._warn(os.strerror(errno.ENOSPC))  # watchdog passes over directories in silence
        return observer

    def _warn(self, reason: str) -> None:
        self.fault = f"changes made to the store from outside are found by the scrub only: {reason}"
        log.warning(
            "cannot watch all of the store; raise fs.inotify.max_user_watches and max_user_instances",
            extra={"reason": reason},
        )

    async def _look(self, path: Path) -> None:
        try:
            if path.is_relative_to(self._layout.trees):
                await self._look_below_trees(path.relative_to(self._layout.trees).parts)
            elif blob := self._layout.digest_of_blob(*path.parts[-3:]):
                await self._look_at_blob(blob)
            else:
                await self._look_at_blobs()
        except CachedError as error:
            log.error("cannot look at what was touched", extra={"path": str(path), "reason": str(error)})

    async def _look_below_trees(self, parts: Sequence[str]) -> None:
        if not parts:
            await self._look_at_trees()
            return
        digest = self._layout.digest_of_tree(parts[0])
        if digest is None or digest not in self._ledger.trees:
            return
        await check_tree(self._parts, self._losses, digest)
        tree = self._parts.state.tree(digest)
        for file in tree.files if tree else ():
            if file.path == "/".join(parts[1:]):
                await self._look_at_blob(file.blob)

    async def _look_at_trees(self) -> None:
        for digest in list(self._ledger.trees):
            await check_tree(self._parts, self._losses, digest)

    async def _look_at_blob(self, blob: Digest) -> None:
        entry = self._ledger.entries.get(blob)
        record = await self._parts.index.read(lambda connection: tables.blob_record(connection, blob))
        if entry is None or record is None or not self._ledger.has(blob):
            return
        written = await self._parts.readers.run(_written, self._layout.blob(blob))
        if written is None:
            await self._losses.blob(blob, entry, Reason.LOST, f"blob {blob} was removed from outside")
        elif written != record.mtime_ns:
            log.warning("a blob was written to from outside; reading it again", extra={"blob": blob})
            await self._losses.examine(blob, Pace(0))

    async def _look_at_blobs(self) -> None:
        expected = [Digest(name) for name in self._ledger.entries if self._ledger.has(name)]
        found = {blob for blob, _ in await self._parts.readers.run(list, blobs.scan(self._layout))}
        for blob in expected:
            if blob not in found:
                await self._look_at_blob(blob)


class Suspects(FileSystemEventHandler):
    """Paths that were touched, gathered in watchdog's thread. Too many of them become the `roots`."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self.some = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._roots = roots
        self._guard = threading.Lock()
        self._paths: set[Path] = set()

    def on_any_event(self, event: FileSystemEvent) -> None:
        with self._guard:
            first = not self._paths
            self._paths.add(Path(os.fsdecode(event.src_path)))
            if len(self._paths) > _MANY:
                self._paths = set(self._roots)
        if first:
            with suppress(RuntimeError):  # the loop has ended; so has the interest
                self._loop.call_soon_threadsafe(self.some.set)

    def take(self) -> set[Path]:
        """All that was gathered since the last call."""
        self.some.clear()
        with self._guard:
            paths, self._paths = self._paths, set()
        return paths


def _written(path: Path) -> int | None:
    """When `path` was last written, in nanoseconds; None when it is not there."""
    with disk_faults("looking at a blob", path):
        try:
            return os.lstat(path).st_mtime_ns
        except FileNotFoundError:
            return None
