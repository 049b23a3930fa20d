"""Making one tree complete: the work of a flight."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, SourceChanged
from cached.core.source import Readable, SourceFile
from cached.core.tree import Tree
from cached.engine.meter import Meter
from cached.engine.resolve import Resolution
from cached.kit.locks import KeyedLocks
from cached.store.store import Reservation, Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import NoRanges, SourceLimits, Transfer

if TYPE_CHECKING:
    from cached.engine.swarm.swarms import Swarms

log = logging.getLogger(__name__)

_BLOBS_AT_ONCE = 8


class Fetcher:
    """Reserves room for a tree, fetches what is missing of it, and publishes it."""

    def __init__(
        self,
        store: Store,
        transfer: Transfer,
        limits: Mapping[str, SourceLimits],
        clock: Clock,
        metrics: Metrics,
        swarms: Swarms | None,
    ) -> None:
        self._swarms = swarms
        self._store = store
        self._transfer = transfer
        self._limits = limits
        self._clock = clock
        self._metrics = metrics
        self._busy: KeyedLocks[Digest] = KeyedLocks()

    def meter(self, tree: Tree) -> Meter:
        return Meter(self._clock, sum(tree.blobs.values()), self._store.present_bytes(tree))

    async def fetch(self, resolution: Resolution, source: Readable, meter: Meter) -> None:
        """Bring `resolution.tree` onto the disk, verified, and publish it.

        Cancelled or failed, it leaves nothing visible; verified chunks stay for the next try.
        """
        await self._noted("model is warm", resolution, meter, self._fill(resolution, source, meter))

    async def bring(self, resolution: Resolution, source: Readable, meter: Meter) -> None:
        """As `fetch`, but the blobs get no tree, and come in the order of reading, for those who follow."""
        filling = self._fill(resolution, source, meter, loose=True)
        await self._noted("blob is here", resolution, meter, filling)

    async def _noted(
        self, message: str, resolution: Resolution, meter: Meter, filling: Coroutine[Any, Any, None]
    ) -> None:
        tree = resolution.tree
        began = time.monotonic()
        outcome = "cancelled"
        self._metrics.flights.inc()
        try:
            await filling
            outcome = "ok"
            took = time.monotonic() - began
            self._metrics.flight_seconds.observe(took)
            log.info(
                message,
                extra={
                    "ref": resolution.target.key,
                    "tree": tree.digest,
                    "bytes": tree.size,
                    "fetched": meter.from_source,
                    "from_peers": meter.from_peers,
                    "seconds": round(took, 3),
                },
            )
        except CachedError as error:
            outcome = type(error).__name__
            log.warning(
                "fetch failed",
                extra={
                    "ref": resolution.target.key,
                    "tree": tree.digest,
                    "error": outcome,
                    "reason": str(error),
                },
            )
            raise
        finally:
            self._metrics.flights.dec()
            self._metrics.flights_ended.labels(outcome=outcome).inc()

    async def _fill(
        self, resolution: Resolution, source: Readable, meter: Meter, *, loose: bool = False
    ) -> None:
        reservation = await self._store.reserve(resolution.tree)
        try:
            if self._swarms is not None and self._swarms.others and resolution.target.share:
                await self._together(self._swarms, reservation, resolution, source, meter, in_order=loose)
            await self._by_itself(reservation, resolution, source, meter)
            if not loose:
                await self._store.publish(reservation)
        finally:
            await self._store.release(reservation)
            if self._swarms is not None:
                self._swarms.settled(resolution.tree.digest)

    async def _together(
        self,
        swarms: Swarms,
        reservation: Reservation,
        resolution: Resolution,
        source: Readable,
        meter: Meter,
        *,
        in_order: bool,
    ) -> None:
        """Fetch all that is missing in a swarm; nothing of it when the source can only be read in order."""
        async with AsyncExitStack() as held:
            for blob in sorted(self._store.missing(resolution.tree)):  # in one order, lest two flights wait
                await held.enter_async_context(self._busy.hold(blob))  # for each other
            if not self._store.missing(resolution.tree):
                return
            limits = self._limits.get(source.scheme, SourceLimits())
            try:
                await swarms.fill(reservation, resolution, source, limits, meter, in_order=in_order)
            except NoRanges:
                log.info("no swarm for a source without ranges", extra={"ref": resolution.target.key})

    async def _by_itself(
        self, reservation: Reservation, resolution: Resolution, source: Readable, meter: Meter
    ) -> None:
        at_once = asyncio.Semaphore(_BLOBS_AT_ONCE)
        missing = sorted(self._store.missing(resolution.tree).items(), key=lambda item: -item[1])
        try:
            async with asyncio.TaskGroup() as group:
                for blob, _ in missing:
                    await at_once.acquire()
                    task = group.create_task(self._blob(reservation, resolution.files[blob], source, meter))
                    task.add_done_callback(lambda _: at_once.release())
        except* CachedError as group_of_errors:
            raise _first(group_of_errors) from None

    async def _blob(self, reservation: Reservation, file: SourceFile, source: Readable, meter: Meter) -> None:
        """Fetch one blob; another tree's flight that is at the same blob is waited for, then shared."""
        async with self._busy.hold(file.blob):
            for last in (False, True):
                if self._store.has_blob(file.blob):
                    return
                try:
                    await self._attempt(reservation, file, source, meter)
                except Corrupt:
                    meter.discount(file.size)
                    if last:
                        raise

    async def _attempt(
        self, reservation: Reservation, file: SourceFile, source: Readable, meter: Meter
    ) -> None:
        stage = await self._store.stage(reservation, file.blob, file.size, file.crc)
        await self._transfer.fetch(
            stage,
            lambda: source.open(file),
            origin=source.scheme,
            label=file.uri,
            on_bytes=meter.count,
            limits=self._limits.get(source.scheme, SourceLimits()),
        )
        await self._store.commit(reservation, stage)


def _first(group: BaseExceptionGroup[CachedError]) -> CachedError:
    """The error that ended a flight; a change at the source outranks what it caused elsewhere."""
    leaves: list[CachedError] = []

    def collect(error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                collect(inner)
        elif isinstance(error, CachedError):
            leaves.append(error)

    collect(group)
    return next((leaf for leaf in leaves if isinstance(leaf, SourceChanged)), leaves[0])
