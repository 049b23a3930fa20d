"""Bringing one volume to its place."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from cached.core.errors import CachedError, Denied, Incompatible
from cached.core.progress import Progress
from cached.core.ref import Ref
from cached.engine.publish.place import Place
from cached.engine.publish.publisher import Publisher
from cached.engine.publish.standing import Standing
from cached.engine.publish.volume import TTL, Shown, Volume, VolumeOptions, on_its_way
from cached.engine.views import Ready, Resolved
from cached.kit.finish import finish
from cached.kit.locks import KeyedLocks
from cached.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from cached.engine.engine import Engine

log = logging.getLogger(__name__)


class Job:
    """A volume on its way. It goes on when nobody waits for it: kubelet asks again."""

    task: asyncio.Task[None]

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.resolved: Resolved | None = None
        self.progress: Progress | None = None
        self.error: Exception | None = None

    @property
    def said(self) -> str:
        """How far it is."""
        if self.volume.ref is None:
            return f"{self.volume} is being mounted"
        return on_its_way(self.volume.ref, self.resolved, self.progress)


class Showing:
    """Takes what a volume shows out of the engine, and publishes it; what failed leaves nothing behind."""

    def __init__(
        self,
        engine: Engine,
        standing: Standing,
        publisher: Publisher,
        turns: KeyedLocks[Place],
        options: VolumeOptions,
        metrics: Metrics,
    ) -> None:
        self._engine = engine
        self._standing = standing
        self._publisher = publisher
        self._turns = turns
        self._options = options
        self._metrics = metrics

    async def show(self, job: Job) -> None:
        """Have the volume stand at its place. Raises what Volumes.publish does."""
        place, began = job.volume.place, time.monotonic()
        if await self._stands(job.volume):
            return
        shown = await self._source(job)
        try:
            async with self._turns.hold(place):
                await self._publisher.publish(shown.source, place)
                self._standing.add(place, shown)
        except BaseException:
            await finish(self._take_back(place, shown))
            raise
        took = time.monotonic() - began
        self._metrics.volume_seconds.labels(outcome="miss" if job.resolved else "hit").observe(took)
        log.info(
            "a volume is there",
            extra={
                "volume": shown.id,
                "path": str(place),
                "ref": str(job.volume.ref or ""),
                "seconds": round(took, 3),
            },
        )

    async def _stands(self, volume: Volume) -> bool:
        """Whether the volume is there already. One that is there no more as it should be is forgotten."""
        async with self._turns.hold(volume.place):
            shown = self._standing.get(volume.place)
            if shown is None:
                return False
            if not shown.is_what(volume):
                raise another(volume)
            if await self._publisher.stands(shown.source, volume.place):
                return True
            await self._standing.forget(volume.place)
            return False

    async def _source(self, job: Job) -> Shown:
        """What the volume shows; a model under a lease of its own."""
        volume, allowed = job.volume, self._options.socket_namespaces
        if volume.ref is None:
            if allowed and volume.namespace not in allowed:
                raise Denied(
                    f"the pods' socket is not for pods of namespace {volume.namespace or '(unknown)'}",
                    hint="add it to csi.socket_namespaces, or mount a model itself as a volume",
                )
            return Shown(volume.id, self._options.sockets)
        holding = self._engine.hold(
            str(volume.ref), ttl=TTL, holder=volume.holder, namespace=volume.namespace
        )
        async with aclosing(holding) as events:
            async for event in events:
                match event:
                    case Resolved():
                        job.resolved = event
                    case Progress():
                        job.progress = event
                    case Ready(path, tree, lease):
                        refs = frozenset({Ref.parse(event.ref)})
                        return Shown(volume.id, path, tree, refs, lease.id, lease.ttl)
        raise AssertionError("an acquire ends with ready or with an error")

    async def _take_back(self, place: Place, shown: Shown) -> None:
        try:
            async with self._turns.hold(place):
                await self._publisher.unpublish(place)
        except CachedError as error:
            log.error("a volume could not be taken back", extra={"path": str(place), "reason": str(error)})
        await self._standing.give_back(shown)


def another(volume: Volume) -> Incompatible:
    """For a place that is taken."""
    return Incompatible(
        f"another volume is published at {volume.place}, or this one with another model",
        hint="unpublish that one first",
    )
