"""One blob's chunks from its source, one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import unquote, urlsplit

from cached.core.chunks import chunk_span
from cached.core.clock import Clock
from cached.core.errors import Denied, NotConfigured, NotFound, SourceChanged, SourceUnavailable
from cached.core.sink import ChunkSink
from cached.core.source import RangeRequest
from cached.transfer.answer import Refused, Take, Verdict, Wanted, Whole
from cached.transfer.exchange import exchange
from cached.transfer.gear import Gear
from cached.transfer.opened import Opened, Opener
from cached.transfer.part import FileReader, Part, get_range
from cached.transfer.retry import Failed
from cached.transfer.turns import Group, Line

_OF_THE_SOURCE = (Denied, NotConfigured, NotFound, SourceChanged, SourceUnavailable)


class NoRanges(Exception):
    """The source sends the whole file, whatever range is asked for: `Transfer.fetch` can read it."""


class Stopwatch:
    """When an attempt began; waiting for a turn is no part of it."""

    def __init__(self, clock: Clock) -> None:
        self.now = clock.monotonic
        self.start()

    def start(self) -> None:
        self.began = self.now()


class Single:
    """Puts chunks of one blob from its source into its sink; see `Transfer.single`.

    Any number of calls may run at once; they share the request in force, and take turns.
    """

    def __init__(
        self, gear: Gear, group: Group, sink: ChunkSink, opener: Opener, origin: str, label: str
    ) -> None:
        self.gear = gear
        self.line = Line(group)
        self.sink = sink
        self.opened = Opened(opener, gear.clock)
        self.origin = origin
        self.label = label

    async def chunk(self, index: int, *, rate: float = 0.0) -> bytes:
        """Put chunk `index` into the sink in one attempt, and return its 32-byte BLAKE3.

        `rate` is the most bytes per second to receive it at, 0 for no bound. It comes evenly then, and holds
        a turn all the while. A request that has expired is opened anew, once.

        Raises Failed where another attempt may help, its `kind` being "throttled" where the source asks to
        be asked less, and `after` the seconds that it asks for, if it does. For so long, but no longer than
        `give_up_after`, no chunk of any file is begun at that host, by whoever: who asks meanwhile waits,
        without a turn. When to ask again is for the caller to say. Raises NoRanges when only
        `Transfer.fetch` can read this file. Raises NotFound, Denied, SourceChanged, NotConfigured or
        SourceUnavailable where no attempt will help; what the opener raises; NoSpace or DiskFault of
        the sink.

        Ended, failed or cancelled, the sink is not used any more by this call, and means are back; a cancel
        waits for a write that has begun, whose chunk is in the sink then, and for no network.
        """
        return await self.attempt(index, Stopwatch(self.gear.clock), rate)

    async def attempt(self, index: int, watch: Stopwatch, rate: float = 0.0) -> bytes:
        """As `chunk`; `watch` is started once there is a turn."""
        offset, length = chunk_span(index, self.sink.size, self.sink.chunk_size)
        while True:
            request = await self.opened.current()  # who opens counts his own errors
            wanted = Wanted(self.label, offset, length, self.sink.size, request.etag)
            with self.noted():
                async with self.gear.turn(self.line, length, self.opened.host) as buffer:
                    watch.start()
                    part = Part(self.sink, index, buffer, rate=rate)
                    verdict = await self._get(request, wanted, part)
                if isinstance(verdict, Whole):
                    raise NoRanges
                if isinstance(verdict, Refused):
                    self.opened.refused(request, verdict)
                    continue
            self.arrived(length, watch)
            return part.blake3

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Count the errors of the block, and leave the host alone that asked for it."""
        try:
            yield
        except Failed as failure:
            self.gear.metrics.source_errors.labels(self.origin, failure.kind).inc()
            if failure.after:
                self.gear.gate.pause(self.opened.host, min(failure.after, self.gear.options.give_up_after))
            raise
        except _OF_THE_SOURCE as error:
            self.gear.metrics.source_errors.labels(self.origin, type(error).__name__).inc()
            raise

    def arrived(self, length: int, watch: Stopwatch) -> None:
        """A chunk of `length` bytes is in the sink."""
        self.opened.worked()
        self.gear.arrived(self.origin, length, watch.began)

    async def _get(self, request: RangeRequest, wanted: Wanted, part: Part) -> Verdict:
        gear = self.gear
        seconds = gear.longest(wanted.length, part.rate)
        if request.url.startswith("file:"):
            reader = FileReader(gear.clock)
            path = unquote(urlsplit(request.url).path)
            await gear.run(reader, seconds, reader.get, path, wanted, part)
            return Take()
        get = partial(get_range, wanted=wanted, part=part, clock=gear.clock)
        async with exchange(gear, request, wanted, seconds, get) as (_, verdict):
            return verdict
