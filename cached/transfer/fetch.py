"""One blob's way into its sink."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from urllib.parse import unquote, urlsplit

from cached.core.chunks import chunk_span
from cached.core.clock import Clock
from cached.core.errors import Denied, NotConfigured, NotFound, SourceChanged, SourceUnavailable
from cached.core.sink import ChunkSink
from cached.core.source import RangeRequest
from cached.transfer.answer import Refused, Take, Verdict, Wanted, Whole
from cached.transfer.channel import Channel
from cached.transfer.exchange import exchange
from cached.transfer.gear import Gear
from cached.transfer.opened import Opened, Opener
from cached.transfer.part import FileReader, Part, begin, get_range, receive
from cached.transfer.retry import Failed, Patience
from cached.transfer.together import together
from cached.transfer.turns import Group, Line

log = logging.getLogger(__name__)

_OF_THE_SOURCE = (Denied, NotConfigured, NotFound, SourceChanged, SourceUnavailable)


class _NoRangesError(Exception):
    """The source sends the whole file, whatever range was asked for."""


class Stopwatch:
    """When an attempt began; waiting for a turn is no part of it."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.monotonic
        self.start()

    def start(self) -> None:
        self.began = self.now()


class Fetch:
    """Fills one sink, once; see `Transfer.fetch`, whose arguments these are."""

    def __init__(
        self,
        gear: Gear,
        group: Group,
        sink: ChunkSink,
        opener: Opener,
        origin: str,
        label: str,
        on_bytes: Callable[[int], None],
    ) -> None:
        self._gear = gear
        self._line = Line(group)
        self._sink = sink
        self._opened = Opened(opener, gear.clock)
        self._patience = Patience(label, gear.options.give_up_after, gear.rng)
        self._origin = origin
        self._label = label
        self._on_bytes = on_bytes
        self._todo: deque[int] = deque()

    async def run(self) -> None:
        self._todo.extend(await self._missing())
        try:
            await self._lanes()
        except _NoRangesError:
            log.info(
                "the source does not do ranges: reading from the beginning", extra={"source": self._label}
            )
            await self._persist(self._whole)

    async def _missing(self) -> Sequence[int]:
        return await self._gear.call(self._sink.missing)

    async def _lanes(self) -> None:
        """Fetch the chunks, several at a time. The first error ends the other lanes."""
        width = min(self._gear.options.connections, self._line.group.connections or len(self._todo))
        await together(self._lane() for _ in range(min(width, len(self._todo))))

    async def _lane(self) -> None:
        while self._todo:
            index = self._todo.popleft()
            await self._persist(partial(self._chunk, index))

    async def _persist(self, attempt: Callable[[RangeRequest, Stopwatch], Awaitable[bool]]) -> None:
        """Attempt again until it is done, after what failed may have passed."""
        failures = itertools.count()
        done = False
        while not done:
            watch = Stopwatch(self._gear.clock)
            try:
                request = await self._opened.current()  # who opens counts his own errors
                with self._counted():
                    done = await attempt(request, watch)
            except Failed as failure:
                await self._recover(failure, next(failures), watch)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        try:
            yield
        except Failed as failure:
            self._gear.metrics.source_errors.labels(self._origin, failure.kind).inc()
            raise
        except _OF_THE_SOURCE as error:
            self._gear.metrics.source_errors.labels(self._origin, type(error).__name__).inc()
            raise

    async def _recover(self, failure: Failed, failures: int, watch: Stopwatch) -> None:
        delay = self._patience.wait(failure, failures, watch.began, watch.now())
        log.debug(
            "a chunk is asked for again",
            extra={"source": self._label, "reason": failure.reason, "seconds": round(delay, 3)},
        )
        self._gear.metrics.retries.labels(self._origin).inc()
        if failure.after:
            self._gear.gate.pause(self._opened.host, failure.after)
        await asyncio.sleep(delay)

    async def _chunk(self, index: int, request: RangeRequest, watch: Stopwatch) -> bool:
        """Fetch chunk `index`; False when it has to be tried again at once."""
        offset, length = chunk_span(index, self._sink.size, self._sink.chunk_size)
        wanted = Wanted(self._label, offset, length, self._sink.size, request.etag)
        async with self._gear.turn(self._line, length, self._opened.host) as buffer:
            watch.start()
            verdict = await self._get(request, wanted, Part(self._sink, index, buffer))
        if isinstance(verdict, Whole):
            raise _NoRangesError
        if isinstance(verdict, Refused):
            self._opened.refused(request, verdict)
            return False
        self._arrived(length, watch)
        return True

    async def _get(self, request: RangeRequest, wanted: Wanted, part: Part) -> Verdict:
        gear = self._gear
        if request.url.startswith("file:"):
            reader = FileReader()
            path = unquote(urlsplit(request.url).path)
            await gear.run(reader, wanted.length, reader.get, path, wanted, part)
            return Take()
        get = partial(get_range, wanted=wanted, part=part, clock=gear.clock)
        async with exchange(gear, request, wanted, wanted.length, get) as (_, verdict):
            return verdict

    async def _whole(self, request: RangeRequest, watch: Stopwatch) -> bool:
        """Fetch what is missing out of one body with all chunks in order; False as for `_chunk`."""
        gear, size = self._gear, self._sink.size
        needed = set(await self._missing())
        wanted = Wanted(self._label, 0, size, size, request.etag, ranged=False)
        channel: Channel | None = None
        async with AsyncExitStack() as kept:
            for index in range(max(needed, default=-1) + 1):
                _, length = chunk_span(index, size, self._sink.chunk_size)
                async with gear.turn(self._line, length, self._opened.host) as buffer:
                    watch.start()
                    if channel is None:
                        get = partial(begin, wanted=wanted, clock=gear.clock)
                        answered = exchange(gear, request, wanted, length, get)
                        begun = await kept.enter_async_context(answered)
                        channel, verdict = begun
                        if isinstance(verdict, Refused):
                            self._opened.refused(request, verdict)
                            return False
                    part = Part(self._sink, index, buffer)
                    await gear.run(channel, length, receive, channel, part, index in needed)
                if index in needed:
                    self._arrived(length, watch)
        return True

    def _arrived(self, length: int, watch: Stopwatch) -> None:
        now = watch.now()
        self._opened.worked()
        self._patience.progress(now)
        self._gear.metrics.received.labels(self._origin).inc(length)
        self._gear.metrics.chunk_seconds.labels(self._origin).observe(now - watch.began)
        self._on_bytes(length)
