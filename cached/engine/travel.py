"""The way from a target to a warm tree, as a stream of events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Set
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass

from cached.core.digest import Digest
from cached.core.errors import CachedError, Draining, SourceChanged, SourceUnavailable
from cached.core.progress import Progress
from cached.core.tree import Tree
from cached.engine.catalog import Target
from cached.engine.fetch import Fetcher
from cached.engine.meter import Meter
from cached.engine.resolve import Resolution, Resolver
from cached.engine.views import Resolved
from cached.kit.flights import Flight, Flights
from cached.store.store import Store

_TICK = 0.5
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Arrived:
    """The tree is warm at this moment; `fetched` counts the bytes received on the way."""

    tree: Tree
    stale: bool
    fetched: int


class Travel:
    """Brings targets to this node; one flight per tree, whoever travels."""

    def __init__(self, store: Store, resolver: Resolver, fetcher: Fetcher) -> None:
        self._store = store
        self._resolver = resolver
        self._fetcher = fetcher
        self._flights: Flights[Digest, Meter] = Flights()
        self._closed = False
        self._failures: dict[str, str] = {}
        self._resolutions: dict[str, Resolution] = {}

    @property
    def flight_count(self) -> int:
        return len(self._flights)

    def progress(self, tree: Digest) -> Progress | None:
        """How far the flight of `tree` has come, if there is one."""
        meter = self._flights.get(tree)
        return meter.progress if meter else None

    def failure(self, key: str) -> str:
        """Why the last try to bring the target of `key` here failed; empty when it did not."""
        return self._failures.get(key, "")

    def forget_failures(self, but: Set[str]) -> None:
        """Drop what is remembered of targets that nobody declares any more."""
        self._failures = {key: why for key, why in self._failures.items() if key in but}

    def at_hand(self, target: Target) -> Arrived | None:
        """The journey's end at once, when the tree is warm and the source need not be asked.

        Raises Draining when the daemon is stopping, DiskFault when its disk is gone.
        """
        if self._closed:
            raise Draining(
                f"{target.key} is not fetched: the daemon is stopping", hint="try again when it has restarted"
            )
        self._store.check_disk()
        tree = self._resolver.known(target)
        return Arrived(tree, stale=False, fetched=0) if tree else None

    async def go(self, target: Target) -> AsyncGenerator[Resolved | Progress | Arrived, None]:
        """Resolved and Progress while bytes are missing, then Arrived once.

        The caller must take its hold on the tree before it awaits anything else. A source that changes
        in mid-flight makes the journey begin again, a few times.
        """
        if arrived := self.at_hand(target):
            yield arrived
            return
        try:
            async with aclosing(self._go(target)) as events:
                async for event in events:
                    yield event
        except CachedError as error:
            if target.declared:
                self._failures[target.key] = str(error)
            raise
        self._failures.pop(target.key, None)

    async def _go(self, target: Target) -> AsyncGenerator[Resolved | Progress | Arrived, None]:
        fetched = 0
        why = "other models took its room at once"
        for _ in range(_ATTEMPTS):
            resolution = self._under_way(target) or await self._resolver.resolve(target)
            tree = resolution.tree
            if self._store.is_warm(tree.digest):
                yield Arrived(tree, resolution.stale, fetched)
                return
            present = self._store.present_bytes(tree)
            yield Resolved(target.key, tree.digest, tree.size, len(tree.files), present, stale=False)
            async with self._fly(resolution) as flight:
                while not await flight.wait(_TICK):
                    yield flight.about.progress
                fetched += flight.about.from_source
                error = flight.outcome()
                if error is None and self._store.is_warm(tree.digest):
                    yield Arrived(tree, stale=False, fetched=fetched)
                    return
            if isinstance(error, SourceChanged):
                why = error.message
            elif error is not None:
                raise self._cut_off(target) if self._closed else error
        raise SourceUnavailable(
            f"{target.key} did not settle within {_ATTEMPTS} tries: {why}",
            hint="wait until whoever writes to the source has finished",
        )

    def _under_way(self, target: Target) -> Resolution | None:
        """What the target's flight began with: who comes while it lasts need not ask the source."""
        resolution = self._resolutions.get(target.key)
        if resolution is None or resolution.target.origin != target.origin:
            return None
        return resolution

    def _fly(self, resolution: Resolution) -> AbstractAsyncContextManager[Flight[Meter]]:
        """Join the flight of the resolution's tree, or begin it."""
        source = self._resolver.source(resolution.target)
        key = resolution.target.key

        async def fetch(meter: Meter) -> None:
            self._resolutions[key] = resolution
            try:
                await self._fetcher.fetch(resolution, source, meter)
            finally:
                if self._resolutions.get(key) is resolution:
                    del self._resolutions[key]

        return self._flights.join(resolution.tree.digest, lambda: self._fetcher.meter(resolution.tree), fetch)

    def _cut_off(self, target: Target) -> Draining:
        return Draining(
            f"the fetch of {target.key} was cut off: the daemon is stopping",
            hint="try again when it has restarted; verified chunks are kept",
        )

    def close(self) -> None:
        """Take no new travellers; those under way go on."""
        self._closed = True

    async def settle(self, seconds: float) -> None:
        """Wait until all flights have ended, at most `seconds`."""
        await self._flights.settle(seconds)

    async def cut(self) -> None:
        """End all flights at once; their verified chunks stay."""
        await self._flights.cancel_all()
