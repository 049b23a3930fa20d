"""Keeps leases alive from one background task."""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time

from cached.client.async_connection import AsyncConnection
from cached.client.grant import LeaseGrant, acquire_request, same_tree
from cached.client.holds import Book, Hold, as_failure, moved, tell
from cached.core.errors import CachedError

log = logging.getLogger(__name__)


class AsyncKeeper:
    """Owns all holds of one client. Its task begins with the first hold and ends with `stop`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._book = Book(random.random)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._wakes_at = math.inf

    def add(self, hold: Hold) -> None:
        """Begin to keep it."""
        self._book.add(hold, time.monotonic())
        if hold.due < self._wakes_at:
            self._changed.set()
        if self._task is None:
            # A library has no root group to put it in: this object holds it, and `stop` ends it.
            self._task = asyncio.create_task(self._run(), name="cached-leases")

    async def release(self, hold: Hold) -> None:
        """Give it up, on the wire too. Does nothing for one that is not kept."""
        if self._book.remove(hold) and not hold.gone:
            await self._give_back(hold.lease)

    async def stop(self) -> None:
        """Give up all."""
        holds = self._book.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        for hold in holds:
            if not hold.gone and not await self._give_back(hold.lease):
                break  # the others would wait as long; they expire

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                now = time.monotonic()
                for hold in self._book.take_due(now):
                    group.create_task(self._keep(hold))
                self._wakes_at = self._book.next_due()
                try:
                    async with asyncio.timeout(None if self._wakes_at == math.inf else self._wakes_at - now):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    async def _keep(self, hold: Hold) -> None:
        try:
            lease = await (self._acquire_again(hold) if hold.gone else self._connection.renew(hold.lease.id))
        except Exception as caught:
            error = as_failure(caught)
            tell(hold, self._book.failed(hold, error, time.monotonic()), error)
        else:
            if not self._book.kept(hold, lease, time.monotonic()):
                await self._give_back(lease)
        self._changed.set()

    async def _acquire_again(self, hold: Hold) -> LeaseGrant:
        request = acquire_request(same_tree(hold.ref, hold.grant.tree), hold.ttl, hold.holder)
        grant = await self._connection.acquire(request, None, None)
        error = moved(hold, grant)
        if error:
            await self._give_back(grant.lease)
            raise error
        return grant.lease

    async def _give_back(self, lease: LeaseGrant) -> bool:
        try:
            await self._connection.release(lease.id)
        except CachedError as error:
            log.info(
                "a lease could not be released; it expires by itself",
                extra={"lease": lease.id, "reason": str(error)},
            )
            return False
        return True
