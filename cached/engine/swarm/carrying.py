"""The bytes of one flight in a swarm: chunks into stages, whole blobs into the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final, Protocol

from cached.core.chunkmap import ChunkMap, Place
from cached.core.chunks import chunk_count, chunk_size_for
from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, DiskFault, NoSpace, SourceChanged, SourceUnavailable
from cached.core.source import Readable
from cached.engine.meter import Meter
from cached.engine.resolve import Resolution
from cached.kit.locks import KeyedLocks
from cached.store.stage import Stage
from cached.store.store import Reservation, Store
from cached.swarm.actions import Failure, Fetch
from cached.swarm.bits import Bits, bits_of
from cached.swarm.messages import Hash
from cached.transfer.transfer import Failed, PeerFailed, Single, SourceLimits, Transfer

log = logging.getLogger(__name__)

_LOOK: Final = 0.5  # seconds between two looks at whether the flight gets on
_REFUSED_PATIENCE: Final = 10.0  # seconds for others to bring what the source refuses to this node
_THROTTLED: Final = 1.0  # seconds of peace for a source that asks for some, and does not say how much
_OUR_DISK: Final = (DiskFault, NoSpace)

_FAILURES: Final = {
    "verify": Failure.VERIFY,
    "stall": Failure.STALL,
    "gone": Failure.GONE,
    "missing": Failure.MISSING,
    "full": Failure.FULL,
}


class Reports(Protocol):
    """Who is told how things ended; see `Joining`."""

    def received(self, chunk: int, member: str | None, blake3: Hash) -> None: ...

    def failed(self, chunk: int, member: str | None, why: Failure) -> None: ...

    def throttled(self, seconds: float) -> None: ...

    def spoiled(self, chunks: Bits) -> None: ...

    @property
    def alone(self) -> bool: ...


class Carrying:
    """Fills the stages of a reservation, chunk by chunk, and commits each blob that is whole.

    Belongs to one event loop. `resume` first, then `run`, then `close`, whatever happened.
    """

    def __init__(
        self,
        store: Store,
        transfer: Transfer,
        reservation: Reservation,
        resolution: Resolution,
        source: Readable,
        limits: SourceLimits,
        meter: Meter,
        give_up_after: float,
    ) -> None:
        """`give_up_after`: seconds without any chunk before the flight fails."""
        self._store = store
        self._transfer = transfer
        self._reservation = reservation
        self._resolution = resolution
        self._source = source
        self._limits = limits
        self._meter = meter
        self._give_up_after = give_up_after
        self._chunks = ChunkMap(resolution.tree)
        self._left: dict[Digest, set[int]] = {}
        self._stages: dict[Digest, Stage] = {}
        self._singles: dict[Digest, Single] = {}
        self._opening: KeyedLocks[Digest] = KeyedLocks()
        self._spoilt: set[Digest] = set()
        self._tasks: dict[tuple[int, str | None], asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()
        self._progress_at = self._loop.time()
        self._refusal: CachedError | None = None
        self._last_failure = "nobody could give its chunks"
        self._reports: Reports | None = None

    async def resume(self) -> tuple[Bits, dict[int, Hash]]:
        """Look what is here of the tree: chunks, and what they hash to."""
        have: Bits = 0
        hashes: dict[int, Hash] = {}
        for blob, size in self._resolution.tree.blobs.items():
            numbers = self._chunks.range(blob)
            if self._store.has_blob(blob):
                joined = await self._store.blob_hashes(blob)
                here = {index: joined[32 * index : 32 * index + 32] for index in range(len(numbers))}
            elif self._store.staged_bytes(blob) or not size:
                here = dict((await self._stage(blob)).hashes())
            else:
                here = {}
            hashes |= {numbers[index]: value for index, value in here.items()}
            have |= bits_of(numbers[index] for index in here)
            if not self._store.has_blob(blob):
                self._left[blob] = set(range(chunk_count(size, chunk_size_for(size)))) - here.keys()
        return have, hashes

    async def run(self, reports: Reports) -> None:
        """Return when all blobs are committed.

        Raises what ends a fetch: an error of the source when nobody else brings anything either, of this
        node's disk, Corrupt when the source holds wrong bytes, NoRanges.
        """
        self._reports = reports
        for blob, left in list(self._left.items()):
            if not left:
                self._spawn(self._commit(blob))
        self._settle()
        while not (await asyncio.wait({self._end}, timeout=_LOOK))[0]:
            self._check_patience(reports.alone)
        self._end.result()

    async def close(self) -> None:
        """Stop all that is under way; what is verified stays in the stages."""
        for task in self._running:
            task.cancel()
        while self._running:
            await asyncio.wait(self._running)
        if not self._end.done():
            self._end.cancel()

    # What a joining wants.

    def fetch(self, fetch: Fetch, address: str, blake3: Hash) -> None:
        assert fetch.member is not None
        self._begin(fetch, self._from_peer(fetch, fetch.member, address, blake3))

    def read(self, fetch: Fetch) -> None:
        self._begin(fetch, self._from_source(fetch))

    def cancel(self, chunk: int, member: str | None) -> None:
        if task := self._tasks.pop((chunk, member), None):
            task.cancel()

    def _begin(self, fetch: Fetch, work: Coroutine[None, None, None]) -> None:
        self.cancel(fetch.chunk, fetch.member)
        self._tasks[fetch.chunk, fetch.member] = self._spawn(work)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    # Chunks.

    async def _from_peer(self, fetch: Fetch, member: str, address: str, blake3: Hash) -> None:
        place = self._chunks.locate(fetch.chunk)
        stage = await self._stage(place.blob)
        try:
            await self._transfer.peer_chunk(
                stage, place.index, address, place.blob, blake3, seconds=fetch.seconds
            )
        except PeerFailed as failure:
            self._last_failure = f"{member}: {failure}"
            self._told(fetch, _FAILURES[failure.kind])
            return
        await self._landed(fetch, place, blake3, stage)

    async def _from_source(self, fetch: Fetch) -> None:
        place = self._chunks.locate(fetch.chunk)
        stage = await self._stage(place.blob)
        single = self._single(place.blob, stage)
        try:
            blake3 = await single.chunk(place.index, rate=fetch.rate)
        except Failed as failure:
            self._last_failure = failure.reason
            if failure.kind == "throttled":
                self._report.throttled(failure.after or _THROTTLED)
            self._told(fetch, Failure.SOURCE)
            return
        except (SourceChanged, *_OUR_DISK):
            raise
        except CachedError as error:
            self._refusal = error
            self._told(fetch, Failure.SOURCE)
            return
        self._refusal = None
        await self._landed(fetch, place, blake3, stage)

    def _told(self, fetch: Fetch, why: Failure) -> None:
        """Report a failure, unless the fetch was cancelled meanwhile."""
        if self._tasks.get((fetch.chunk, fetch.member)) is asyncio.current_task():
            del self._tasks[fetch.chunk, fetch.member]
            self._report.failed(fetch.chunk, fetch.member, why)

    async def _landed(self, fetch: Fetch, place: Place, blake3: Hash, stage: Stage) -> None:
        """A chunk is in its stage. From here on the task is not the chunk's any more, and goes to its end."""
        if stage is not self._stages.get(place.blob):  # its blob was begun anew meanwhile
            self._told(fetch, Failure.LOCAL)
            return
        if self._tasks.get((fetch.chunk, fetch.member)) is asyncio.current_task():
            del self._tasks[fetch.chunk, fetch.member]
        self._progress_at = self._loop.time()
        if fetch.member is None:
            self._meter.count(place.length)
        else:
            self._meter.count_peer(place.length)
        left = self._left.get(place.blob, set())
        last = left == {place.index}
        left.discard(place.index)
        self._report.received(fetch.chunk, fetch.member, blake3)
        if last:
            await self._commit(place.blob)

    # Blobs.

    async def _stage(self, blob: Digest) -> Stage:
        async with self._opening.hold(blob):
            if blob not in self._stages:
                file = self._resolution.files[blob]
                self._stages[blob] = await self._store.stage(self._reservation, blob, file.size, file.crc)
            return self._stages[blob]

    def _single(self, blob: Digest, stage: Stage) -> Single:
        if blob not in self._singles:
            file = self._resolution.files[blob]
            self._singles[blob] = self._transfer.single(
                stage,
                lambda: self._source.open(file),
                origin=self._source.scheme,
                label=file.uri,
                limits=self._limits,
            )
        return self._singles[blob]

    async def _commit(self, blob: Digest) -> None:
        stage = await self._stage(blob)
        try:
            await self._store.commit(self._reservation, stage)
        except Corrupt:
            if blob in self._spoilt:
                raise
            self._begin_anew(blob, stage.size)
            return
        del self._left[blob]
        self._settle()

    def _begin_anew(self, blob: Digest, size: int) -> None:
        """Chunks were right one by one, by what the swarm said, and are wrong together."""
        numbers = self._chunks.range(blob)
        log.warning(
            "a blob is not what its name says; reading it from the source",
            extra={"tree": self._resolution.tree.digest, "blob": blob, "bytes": size},
        )
        self._spoilt.add(blob)
        self._stages.pop(blob, None)
        self._singles.pop(blob, None)
        self._left[blob] = set(range(len(numbers)))
        self._meter.discount(size)
        self._report.spoiled(bits_of(numbers))

    # The end.

    @property
    def _report(self) -> Reports:
        assert self._reports is not None
        return self._reports

    def _settle(self) -> None:
        if not self._left and not self._end.done():
            self._end.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if not self._end.done():
            self._end.set_exception(error)

    def _check_patience(self, alone: bool) -> None:
        key, idle = self._resolution.target.key, self._loop.time() - self._progress_at
        if self._refusal is not None and (alone or idle > min(_REFUSED_PATIENCE, self._give_up_after)):
            self._fail(self._refusal)
        elif idle > self._give_up_after:
            self._fail(
                SourceUnavailable(
                    f"{key}: nothing came for {idle:.0f} s; last: {self._last_failure}",
                    hint="see that the source and the other nodes answer; what was verified is kept",
                )
            )
