"""The scrub: every blob is read again now and then, slowly, so that bit rot is found before a reader does."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import CachedError
from cached.store import tables
from cached.store.losses import Finding, Losses
from cached.store.pace import Pace
from cached.store.parts import Parts
from cached.store.records import ScrubStatus

log = logging.getLogger(__name__)

_AFTER_FAULT: Final = 60.0
_START: Final = (-1, 0)


class Scrub:
    """Rounds over all blobs, least recently read first; a round goes on where a restart broke it off.

    rate: bytes per second, 0 turns the scrub off. interval: seconds from the end of a round to the next.
    """

    def __init__(self, parts: Parts, losses: Losses, rate: int, interval: float) -> None:
        self._parts = parts
        self._losses = losses
        self._rate = rate
        self._interval = interval
        self.status = ScrubStatus()

    async def run(self) -> None:
        """Forever: one round after another."""
        if not self._rate:
            await asyncio.Event().wait()
        while True:
            try:
                number = await self._begin()
                await self._round(number)
            except CachedError as error:
                log.error("the scrub was broken off", extra={"reason": str(error), "seconds": _AFTER_FAULT})
                await asyncio.sleep(_AFTER_FAULT)

    async def _begin(self) -> int:
        """Wait until a round is due; returns its number."""
        number, under_way, ended_at = await self._parts.index.read(tables.scrub_round)
        self.status = replace(self.status, last_round=ended_at)
        if under_way:
            return number
        if ended_at is not None:
            due_in = ended_at + self._interval - self._parts.clock.now()
            await asyncio.sleep(min(max(due_in, 0.0), self._interval))
        await self._parts.index.commit(tables.begin_round(number + 1))
        return number + 1

    async def _round(self, number: int) -> None:
        place = _START
        pace = Pace(self._rate)
        while found := await self._next(number, place):
            blob, place = found
            await self._read(blob, number, pace)
        now = self._parts.clock.now()
        await self._parts.index.commit(tables.end_round(now))
        self.status = replace(self.status, last_round=now)
        log.info("scrubbed every blob", extra={"round": number, "bytes": pace.done})

    async def _next(self, number: int, place: tuple[int, int]) -> tuple[Digest, tuple[int, int]] | None:
        return await self._parts.index.read(
            lambda connection: tables.next_to_scrub(connection, number, place)
        )

    async def _read(self, blob: Digest, number: int, pace: Pace) -> None:
        before = pace.done
        finding = (await self._losses.examine(blob, pace)).finding
        self._parts.metrics.scrubbed.inc(pace.done - before)
        if finding is Finding.GONE:
            return
        self._parts.metrics.scrub_results.labels(result=finding.value).inc()
        corrupt = finding is Finding.CORRUPT
        self.status = replace(
            self.status,
            blob_count=self.status.blob_count + 1,
            corrupt_count=self.status.corrupt_count + corrupt,
        )
        if not corrupt:
            self._parts.index.later(("scrubbed", blob), tables.scrubbed(blob, number))
