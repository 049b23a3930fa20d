"""The store's durable record: an SQLite file that one thread writes."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from cached.core.errors import CachedError, DiskFault, NoSpace
from cached.kit.pool import Pool
from cached.store import tables
from cached.store.faults import disk_faults, free_bytes
from cached.store.tables import Statement

log = logging.getLogger(__name__)

T = TypeVar("T")

_BEHIND: Final = 0.002
_RETRY: Final = 1.0

_Waiting = list[tuple[tuple[Statement, ...], "asyncio.Future[None]"]]
_Behind = dict[tuple[str, str], Statement]


class Index:
    """Writes in batches: what is asked for while one is written goes into the next, in one transaction.

    Two kinds: `commit` is awaited and outlives the death of the machine. `later` returns at once, is
    written some milliseconds later, and outlives the death of the process from then on; later words on the
    same key replace earlier ones, and what could not be written is tried again.
    """

    def __init__(self, path: Path, pool: Pool, connection: sqlite3.Connection) -> None:
        self._path = path
        self._pool = pool
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._waiting: _Waiting = []
        self._behind: _Behind = {}
        self._writing = False
        self._timer: asyncio.TimerHandle | None = None
        self.fault = ""

    async def commit(self, *statements: Statement) -> None:
        """Make all statements, or none, durably. Raises DiskFault or NoSpace.

        A caller that is cancelled does not undo them.
        """
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((statements, done))
        if not self._writing:
            self._write()
        await done

    def later(self, key: tuple[str, str], statement: Statement) -> None:
        """Make `statement` soon; `fault` says why when it cannot be made."""
        self._behind[key] = statement
        if not self._writing and self._timer is None:
            self._timer = self._loop.call_later(_BEHIND, self._write)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What `query` finds, with all commits made that were begun before. Raises DiskFault."""
        return await self._pool.run(self._guard, lambda: query(self._connection))

    async def close(self) -> None:
        """Write what is still to be written, and close the file."""
        try:
            await self.commit()
        except CachedError as error:
            log.error("the index could not be written to the end", extra={"reason": str(error)})
        if self._timer:
            self._timer.cancel()
        await self._pool.run(self._connection.close)
        self._pool.close()

    def _write(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._writing = True
        waiting, self._waiting = self._waiting, []
        behind, self._behind = self._behind, {}
        statements = [*behind.values(), *(one for each, _ in waiting for one in each)]
        work = partial(tables.apply, self._connection, statements, durable=bool(waiting))
        written = self._loop.run_in_executor(self._pool.executor, self._guard, work)
        written.add_done_callback(partial(self._written, waiting, behind))

    def _written(self, waiting: _Waiting, behind: _Behind, written: asyncio.Future[None]) -> None:
        self._writing = False
        error = written.exception()
        if error is None:
            self.fault = ""
        else:
            if not self.fault:
                log.error("the index cannot be written", extra={"reason": str(error)})
            self.fault = str(error)
            self._behind = behind | self._behind
        for _, done in waiting:
            if done.cancelled():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
        if self._waiting:
            self._write()
        elif self._behind and self._timer is None:
            self._timer = self._loop.call_later(_RETRY if error else _BEHIND, self._write)

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error


def translated(error: sqlite3.Error, path: Path) -> CachedError:
    """What SQLite's complaint means in the words of the house."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
        return NoSpace(
            f"the index could not be written: {error}",
            needed=0,
            free=free_bytes(path.parent),
            held=0,
            hint="free space on the filesystem of the data directory",
        )
    try:
        # SQLite keeps the disk's own word to itself; whoever touches the same directory hears it.
        with disk_faults("writing the index", path):
            os.utime(path.parent)
    except CachedError as said:
        return said
    return DiskFault(
        f"the index failed: {error}",
        hint="see dmesg for the disk's state; a damaged index is replaced at start",
    )
