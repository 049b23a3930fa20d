"""Waiting until a directory changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import TracebackType

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

log = logging.getLogger(__name__)

_READS = ("opened", "closed_no_write")


class DirectoryWatch:
    """Tells the event loop that something in a directory was written, renamed or removed.

    Without inotify (limits used up, no such directory) it logs one warning, and `wait` only times out.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._changed = asyncio.Event()

    def __enter__(self) -> DirectoryWatch:
        loop = asyncio.get_running_loop()
        changed = self._changed

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type not in _READS and not loop.is_closed():
                    loop.call_soon_threadsafe(changed.set)

        self._observer = Observer()
        try:
            self._observer.schedule(Handler(), str(self._directory), recursive=False)
            self._observer.start()
        except OSError as error:
            log.warning(
                "cannot watch a directory; changes are noticed by polling",
                extra={"path": str(self._directory), "reason": error.strerror},
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join(5)

    async def wait(self, seconds: float) -> None:
        """Return at the next change since the last call, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
