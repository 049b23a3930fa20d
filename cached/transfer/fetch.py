"""One blob's way into its sink."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from cached.core.chunks import chunk_span
from cached.transfer.answer import Refused, Wanted
from cached.transfer.channel import Channel
from cached.transfer.exchange import exchange
from cached.transfer.part import Part, begin, receive
from cached.transfer.retry import Failed, Patience
from cached.transfer.single import NoRanges, Single, Stopwatch
from cached.transfer.together import together

log = logging.getLogger(__name__)


class Fetch:
    """Fills the sink of `single`, once; see `Transfer.fetch`."""

    def __init__(self, single: Single, on_bytes: Callable[[int], None]) -> None:
        self._single = single
        self._gear = single.gear
        self._sink = single.sink
        self._patience = Patience(single.label, single.gear.options.give_up_after, single.gear.rng)
        self._on_bytes = on_bytes
        self._todo: deque[int] = deque()

    async def run(self) -> None:
        self._todo.extend(await self._missing())
        try:
            await self._lanes()
        except NoRanges:
            log.info(
                "the source does not do ranges: reading from the beginning",
                extra={"source": self._single.label},
            )
            await self._persist(self._whole)

    async def _missing(self) -> Sequence[int]:
        return await self._gear.call(self._sink.missing)

    async def _lanes(self) -> None:
        """Fetch the chunks, several at a time. The first error ends the other lanes."""
        width = min(self._gear.options.connections, self._single.line.group.connections or len(self._todo))
        await together(self._lane() for _ in range(min(width, len(self._todo))))

    async def _lane(self) -> None:
        while self._todo:
            index = self._todo.popleft()
            await self._persist(partial(self._chunk, index))

    async def _persist(self, attempt: Callable[[Stopwatch], Awaitable[None]]) -> None:
        """Attempt again until it is done, after what failed may have passed."""
        failures = itertools.count()
        done = False
        while not done:
            watch = Stopwatch(self._gear.clock)
            try:
                await attempt(watch)
                done = True
            except Failed as failure:
                await self._recover(failure, next(failures), watch)

    async def _recover(self, failure: Failed, failures: int, watch: Stopwatch) -> None:
        delay = self._patience.wait(failure, failures, watch.began, watch.now())
        log.debug(
            "a chunk is asked for again",
            extra={"source": self._single.label, "reason": failure.reason, "seconds": round(delay, 3)},
        )
        self._gear.metrics.retries.labels(self._single.origin).inc()
        await asyncio.sleep(delay)

    async def _chunk(self, index: int, watch: Stopwatch) -> None:
        await self._single.attempt(index, watch)
        self._progress(index, watch)

    async def _whole(self, watch: Stopwatch) -> None:
        """Fetch what is missing out of one body with all chunks in order."""
        while not await self._body(watch):
            pass

    async def _body(self, watch: Stopwatch) -> bool:
        """False when the request was refused, and the next may not be."""
        gear, single, size = self._gear, self._single, self._sink.size
        needed = set(await self._missing())
        request = await single.opened.current()
        wanted = Wanted(single.label, 0, size, size, request.etag, ranged=False)
        channel: Channel | None = None
        with single.noted():
            async with AsyncExitStack() as kept:
                for index in range(max(needed, default=-1) + 1):
                    _, length = chunk_span(index, size, self._sink.chunk_size)
                    async with gear.turn(single.line, length, single.opened.host) as buffer:
                        watch.start()
                        if channel is None:
                            get = partial(begin, wanted=wanted, clock=gear.clock)
                            answered = exchange(gear, request, wanted, gear.longest(length), get)
                            begun = await kept.enter_async_context(answered)
                            channel, verdict = begun
                            if isinstance(verdict, Refused):
                                single.opened.refused(request, verdict)
                                return False
                        part = Part(self._sink, index, buffer)
                        seconds = gear.longest(length)
                        await gear.run(channel, seconds, receive, channel, part, index in needed)
                    if index in needed:
                        single.arrived(length, watch)
                        self._progress(index, watch)
        return True

    def _progress(self, index: int, watch: Stopwatch) -> None:
        self._patience.progress(watch.now())
        self._on_bytes(chunk_span(index, self._sink.size, self._sink.chunk_size)[1])
