"""Volumes of pods: models, or the pods' socket, at the paths that kubelet names."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Final

from cached.core.errors import Busy, CachedError, Draining, InUse, InvalidRequest
from cached.engine.publish.left import abandoned
from cached.engine.publish.place import Place
from cached.engine.publish.publisher import Publisher
from cached.engine.publish.showing import Job, Showing, another
from cached.engine.publish.standing import Standing
from cached.engine.publish.volume import Volume, VolumeOptions, place_of
from cached.kit.finish import finish
from cached.kit.locks import KeyedLocks
from cached.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from cached.engine.engine import Engine
    from cached.store.store import Store

log = logging.getLogger(__name__)

_TICK: Final = 1.0


class Volumes:
    """Publishes volumes, holds what they show for as long as they are there, and unpublishes them.

    Nothing is remembered between two processes: mounts, kubelet's notes and the leases tell all. So
    unpublishing works from the first moment on, and publishing once the engine runs.
    """

    def __init__(self, publisher: Publisher, options: VolumeOptions, metrics: Metrics) -> None:
        self._publisher = publisher
        self._options = options
        self._metrics = metrics
        self._turns: KeyedLocks[Place] = KeyedLocks()
        self._jobs: dict[Place, Job] = {}
        self._standing: Standing | None = None
        self._showing: Showing | None = None
        self._group: asyncio.TaskGroup | None = None

    @property
    def ready(self) -> bool:
        """Whether volumes can be published."""
        return self._group is not None

    def place(self, target: str) -> Place:
        """Where kubelet wants a volume. Raises InvalidRequest for a path that is no volume's."""
        return place_of(self._options.kubelet_root, target)

    async def publish(self, volume: Volume, seconds: float) -> None:
        """Show the volume at its place; one that is there is no error.

        Raises Busy, saying how far it is, when it is not there within `seconds`, and goes on: ask again.
        Raises Incompatible when something else was asked for at that place, and what Engine.hold raises.
        What failed leaves nothing behind.
        """
        job = self._jobs.get(volume.place)
        if job is None:
            job = self._begin(volume)
        elif (job.volume.id, job.volume.ref) != (volume.id, volume.ref):
            raise another(volume)
        await asyncio.wait({job.task}, timeout=seconds)
        if not job.task.done():
            raise Busy(job.said, hint="kubelet asks again by itself, and the model goes on arriving")
        if job.task.cancelled():
            raise Draining(f"{volume} was given up", hint="kubelet asks again if it wants it")
        if job.error is not None:
            raise job.error

    async def unpublish(self, target: str) -> None:
        """Take away whatever is at a target of kubelet's. Nothing there is no error.

        Raises InUse for a path where no volume is ever published, and somebody has mounted something.
        """
        try:
            place = self.place(target)
        except InvalidRequest:
            if any(mount.point == target for mount in await self._publisher.mounts()):
                raise InUse(
                    f"something is mounted at {target[:200]!r}, where this driver publishes nothing",
                    hint="set csi.kubelet_root to kubelet's --root-dir",
                ) from None
            return
        await finish(self._end(place))

    async def run(self, engine: Engine, store: Store) -> None:
        """Forever: publish what is asked for, renew leases, give up what kubelet has forgotten."""
        options, publisher, turns, metrics = self._options, self._publisher, self._turns, self._metrics
        standing = self._standing = Standing(store, publisher, options.sockets, turns, metrics)
        self._showing = Showing(engine, standing, publisher, turns, options, metrics)
        try:
            await standing.find(options.kubelet_root, options.driver)
            async with asyncio.TaskGroup() as group:
                self._group = group
                try:
                    await self._care_for(standing)
                finally:
                    self._group = None
        finally:
            self._showing = self._standing = None

    def _begin(self, volume: Volume) -> Job:
        if self._group is None or self._showing is None:
            raise Draining(
                f"{volume} is not published yet: the daemon is starting or stopping",
                hint="kubelet asks again by itself",
            )
        job = self._jobs[volume.place] = Job(volume)
        job.task = self._group.create_task(self._work(job, self._showing))
        job.task.add_done_callback(lambda _: self._jobs.pop(volume.place))
        return job

    async def _work(self, job: Job, showing: Showing) -> None:
        try:
            await showing.show(job)
        except CachedError as error:
            job.error = error
        except Exception as error:  # a bug of one volume is none of the others' business
            log.exception("a volume failed on a bug", extra={"volume": job.volume.id})
            job.error = error

    async def _end(self, place: Place) -> None:
        job = self._jobs.get(place)
        if job is not None:
            job.task.cancel()
            await asyncio.wait({job.task})
        async with self._turns.hold(place):
            await self._publisher.unpublish(place)
            if self._standing is not None:
                await self._standing.forget(place)

    async def _care_for(self, standing: Standing) -> None:
        done = time.monotonic()
        while True:
            await asyncio.sleep(min(_TICK, standing.pause))  # volumes come, and with them shorter leases
            if time.monotonic() - done >= standing.pause:
                await self._care(standing)
                done = time.monotonic()

    async def _care(self, standing: Standing) -> None:
        """Renew what is there, and end what kubelet has removed the directory of, without a word."""
        await standing.renew()
        try:
            gone = await self._publisher.run(abandoned, [*standing.places, *self._jobs])
            for place in gone:
                log.warning(
                    "kubelet removed a volume's directory; it is given up", extra={"path": str(place)}
                )
                self._metrics.volumes_reaped.inc()
                await finish(self._end(place))
        except CachedError as error:
            log.error("cannot look after volumes", extra={"reason": str(error)})
