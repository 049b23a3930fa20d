"""Blobs of images on their way to this node."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final

from cached.core.chunks import chunk_size_for
from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, Denied, Unauthenticated
from cached.core.image import SCHEME, Repository
from cached.core.registry import NODE, Found, Reader, Registry, blob_path, file_of
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.core.tree import Tree, TreeFile
from cached.engine.catalog import Target
from cached.engine.fetch import Fetcher
from cached.engine.images.content import RuntimeBlobs
from cached.engine.images.pieces import Pieces
from cached.engine.images.views import Piece
from cached.engine.meter import Meter
from cached.engine.resolve import Resolution
from cached.kit.flights import Flight, Flights
from cached.store.store import Store

_MOST_READERS: Final = 8
_LINGER: Final = 10.0  # seconds: runtimes drop a connection to read the rest over another
_LOOK: Final = 5.0  # seconds between two looks where no news is heard


class Arrival(Meter):
    """A blob's flight as its readers see it.

    readers: where it may be read, and on whose behalf, a few, whoever came last at the end. spoils: how often
    what had come was wrong as a whole.
    """

    def __init__(self, clock: Clock, size: int, found: int) -> None:
        super().__init__(clock, size, found)
        self.readers: OrderedDict[tuple[Repository, Reader], None] = OrderedDict()
        self.news = asyncio.Event()
        self.spoils = 0

    def came(self, repository: Repository, reader: Reader) -> None:
        """Somebody waits for the blob who may have it from there."""
        self.readers[repository, reader] = None
        self.readers.move_to_end((repository, reader))
        if len(self.readers) > _MOST_READERS:
            self.readers.popitem(last=False)

    def count(self, received: int) -> None:
        super().count(received)
        self.tell()

    def count_peer(self, received: int) -> None:
        super().count_peer(received)
        self.tell()

    def discount(self, lost: int) -> None:
        super().discount(lost)
        self.spoils += 1
        self.tell()

    def tell(self) -> None:
        """Wake all who wait for bytes."""
        self.news.set()
        self.news = asyncio.Event()


class BlobFlights:
    """One flight per blob, whichever image and puller it is for. Belongs to one event loop.

    A blob that the runtime's own store has needs no flight.
    """

    def __init__(
        self,
        store: Store,
        fetcher: Fetcher,
        registry: Registry,
        content: RuntimeBlobs | None,
        clock: Clock,
        *,
        grace: float,
        share: bool,
    ) -> None:
        """grace: seconds for which a blob that came stays for others. share: with other nodes."""
        self._store = store
        self._fetcher = fetcher
        self._registry = registry
        self._content = content
        self._clock = clock
        self._grace = grace
        self._share = share
        self._flights: Flights[Digest, Arrival] = Flights(_LINGER)
        self.pieces = Pieces(store, clock)

    @property
    def count(self) -> int:
        """Flights under way."""
        return len(self._flights)

    def is_here(self, blob: Digest) -> bool:
        """Whether the blob is complete in the store or in the runtime's own."""
        return self._store.has_blob(blob) or (self._content is not None and blob in self._content.here)

    @asynccontextmanager
    async def read(
        self, repository: Repository, found: Found, reader: Reader = NODE, *, keep_in_store: bool = False
    ) -> AsyncIterator[Reading]:
        """Have the blob come, if it is not here, for as long as the block runs, and read it meanwhile.

        With `keep_in_store`, a blob of the runtime's store comes, too.
        """
        blob = found.digest
        if self._store.has_blob(blob):
            yield Reading(self, found)
            return
        if self._content is not None and blob in self._content.here and not keep_in_store:
            yield Reading(self, found, lender=self._content)
            return
        file = file_of(repository, found)
        tree = tree_of(blob, found.size)
        target = Target(key=file.uri, uri=file.uri, selection=Selection(), share=self._share)
        resolution = Resolution(target, tree, {blob: file})

        def about() -> Arrival:
            return Arrival(self._clock, found.size, self._store.present_bytes(tree))

        async def work(arrival: Arrival) -> None:
            source = _Source(self._registry, found, arrival)
            try:
                await self._fetcher.bring(resolution, source, arrival)
                self.pieces.found_right(blob)
            finally:
                arrival.tell()

        async with self._flights.join(blob, about, work) as flight:
            flight.about.came(repository, reader)
            yield Reading(self, found, flight=flight)

    async def bring(
        self, repository: Repository, found: Found, on_flight: Callable[[Arrival], None] = lambda _: None
    ) -> None:
        """Return when the blob is complete here. Raises what ends its fetch."""
        keep = bool(found.media_type)
        async with self.read(repository, found, keep_in_store=keep) as reading:
            if reading.flight is not None:
                on_flight(reading.flight.about)
                await reading.landed()

    async def bytes_of(self, repository: Repository, found: Found, reader: Reader, limit: int) -> bytes:
        """A whole small blob, fetched if it is not here. Raises Corrupt when it is larger than `limit`."""
        if found.size > limit:
            raise Corrupt(f"{repository}@{found.digest} has {found.size} bytes; at most {limit} are taken")
        async with self.read(repository, found, reader, keep_in_store=True) as reading:
            self.keep(found.digest)
            await reading.landed()
            return await self._store.read_blob(found.digest, limit)

    def keep(self, blob: Digest) -> None:
        """Somebody reads the blob, and others may soon: it stays for a while from now."""
        self._store.keep(blob, self._grace)

    async def settle(self, seconds: float) -> None:
        """Wait until all flights of this moment have ended, at most `seconds`."""
        await self._flights.settle(seconds)

    async def cut(self) -> None:
        """End all flights at once; their verified chunks stay."""
        await self._flights.cancel_all()

    def close(self) -> None:
        self.pieces.close()


class Reading:
    """Implements `cached.engine.images.views.BlobReader`; `flight` is None when the blob was here already.

    The last chunk is given only once the whole is what its name says: nobody gets a whole blob that is wrong.
    """

    def __init__(
        self,
        flights: BlobFlights,
        found: Found,
        *,
        flight: Flight[Arrival] | None = None,
        lender: RuntimeBlobs | None = None,
    ) -> None:
        """lender: who has the blob, when the store does not."""
        self._flights = flights
        self._found = found
        chunk = chunk_size_for(found.size)
        self._last = max(0, found.size - 1) // chunk * chunk
        self._spoils: int | None = None
        self._lender = lender
        self._hashes = b""
        self._checked = 0
        self.flight = flight

    async def piece(self, offset: int, most: int) -> Piece:
        """See BlobReader.piece."""
        blob, size, pieces = self._found.digest, self._found.size, self._flights.pieces
        self._flights.keep(blob)
        if self.flight is not None:
            return await self._arriving(self.flight, offset, most)
        if self._lender is not None:
            return await self._lent(self._lender, offset, most)
        if pieces.is_right(blob):
            return await pieces.stored(blob, size, offset, most)
        self._hashes = self._hashes or await pieces.hashes(blob)
        piece = await pieces.checked(blob, size, self._hashes, offset, most)
        if offset == self._checked:
            self._checked += piece.length
            if self._checked == size:
                pieces.found_right(blob)
        return piece

    async def _arriving(self, flight: Flight[Arrival], offset: int, most: int) -> Piece:
        blob, size, pieces = self._found.digest, self._found.size, self._flights.pieces
        while not flight.ended:
            news = flight.about.news
            self._check_unspoilt(flight.about)
            if (allowed := min(most, self._last - offset)) > 0:
                piece = await pieces.arriving(blob, size, offset, allowed)
                if piece is not None:
                    return piece
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await news.wait()
        self._check_unspoilt(flight.about)
        self._raise_outcome()
        return await pieces.stored(blob, size, offset, most)

    async def _lent(self, lender: RuntimeBlobs, offset: int, most: int) -> Piece:
        if offset < self._last:
            most = min(most, self._last - offset)
        else:
            await lender.hashes(self._found.digest)
        return await self._flights.pieces.lent(lender, self._found.digest, self._found.size, offset, most)

    def _check_unspoilt(self, arrival: Arrival) -> None:
        """Raises Corrupt when what this reader was given before was wrong."""
        if self._spoils is None:
            self._spoils = arrival.spoils
        elif self._spoils != arrival.spoils:
            raise Corrupt(f"blob {self._found.digest} came wrong, and comes anew", hint="ask for it again")

    async def landed(self) -> None:
        """Return when the blob is complete. Raises what ended its fetch."""
        while self.flight is not None and not await self.flight.wait(_LOOK):
            pass
        self._raise_outcome()

    def _raise_outcome(self) -> None:
        if self.flight is not None and (error := self.flight.outcome()) is not None:
            raise error


class _Source:
    """Reads one blob on behalf of whoever waits for it; implements `cached.core.source.Readable`."""

    def __init__(self, registry: Registry, found: Found, arrival: Arrival) -> None:
        self.scheme: Final = SCHEME
        self._registry = registry
        self._found = found
        self._arrival = arrival

    async def open(self, file: SourceFile) -> RangeRequest:
        """Ask for whoever came last first: what he shows was proved last."""
        refused: CachedError | None = None
        for repository, reader in reversed(self._arrival.readers):
            file = file_of(repository, self._found)
            try:
                return await self._registry.open_blob(repository, file, reader)
            except (Unauthenticated, Denied) as error:
                refused = refused or error
        assert refused is not None
        raise refused


def tree_of(blob: Digest, size: int) -> Tree:
    """The tree of one blob: what nodes call it when they share it."""
    return Tree.of([TreeFile(blob_path(blob), size, blob)])
