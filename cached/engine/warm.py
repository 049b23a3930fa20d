"""Warm jobs: work that the engine owns, with no reader waiting."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress

from cached.core.errors import CachedError, Draining
from cached.core.progress import Progress
from cached.engine.catalog import Target
from cached.engine.travel import Arrived
from cached.engine.views import Accepted, Resolved, Unpacking, Warmed, WarmEvent
from cached.store.store import Store

log = logging.getLogger(__name__)

_TICK = 0.5
_FIRST_RETRY = 5.0
_LAST_RETRY = 300.0


Go = Callable[[Target], AsyncGenerator[Resolved | Progress | Unpacking | Arrived, None]]


class WarmJob:
    """One target on its way; watchers look at what it shows and never hold it."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.resolved: Resolved | None = None
        self.progress: Progress | None = None
        self.unpacking: Unpacking | None = None
        self.end: Warmed | CachedError | None = None


class WarmWatch:
    """One watcher's view of a job: tells each thing once."""

    def __init__(self, job: WarmJob) -> None:
        self.key = job.target.key
        self._job = job
        self._told: list[WarmEvent] = []

    @property
    def over(self) -> bool:
        """Whether the job has ended and its watcher was told."""
        return self._job.end is not None and self._job.end in self._told

    def news(self) -> list[WarmEvent]:
        """What has come since the last call: Accepted first, Warmed or the error last."""
        job = self._job
        shown = [event for event in (job.resolved, job.progress, job.unpacking, job.end) if event is not None]
        fresh: list[WarmEvent] = [event for event in shown if event not in self._told]
        if not self._told:
            fresh.insert(0, Accepted())
        self._told = [Accepted(), *shown]
        return fresh


class WarmJobs:
    """All warm jobs, at most one per target, a few at work at once."""

    def __init__(self, store: Store, go: Go, at_once: int, rng: random.Random) -> None:
        """`go` brings a target to this node."""
        self._store = store
        self._go = go
        self._at_once = asyncio.Semaphore(at_once)
        self._rng = rng
        self._jobs: dict[str, WarmJob] = {}
        self._keep: dict[str, Target] | None = None
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._end_of_any = asyncio.Event()

    async def wait_for_news(self) -> None:
        """Return when a job has ended, or after half a second, in which jobs may have progressed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TICK):
                await self._end_of_any.wait()

    async def run(self) -> None:
        """Forever: own the jobs' tasks. Cancelled, it ends them all."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for target in (self._keep or {}).values():
                self._begin_keeping(target)
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def start(self, target: Target) -> WarmJob:
        """The job of `target`, begun unless it is under way already."""
        job = self._jobs.get(target.key)
        if job is None:
            if self._group is None:
                raise Draining(f"{target.key} is not warmed: the daemon is starting or stopping")
            job = self._jobs[target.key] = WarmJob(target)
            self._group.create_task(self._work(job))
        return job

    def keep(self, targets: list[Target]) -> None:
        """Make these, and from now on only these, warm without being asked; failures are tried again."""
        wanted = {target.key: target for target in targets}
        for key in self._keepers.keys() - wanted.keys():
            self._keepers.pop(key).cancel()
        self._keep = wanted
        for target in targets:
            self._begin_keeping(target)

    def kept(self) -> list[tuple[Target, bool]] | None:
        """What is kept warm, by ref, and whether it has been made so; None before anybody said what."""
        if self._keep is None:
            return None
        made = {key for key, task in self._keepers.items() if task.done()}
        return [(target, key in made) for key, target in sorted(self._keep.items())]

    def again(self, key: str) -> None:
        """A kept target lost its tree: warm it again."""
        if self._keep and key in self._keep:
            self._begin_keeping(self._keep[key])

    def _begin_keeping(self, target: Target) -> None:
        running = self._keepers.get(target.key)
        if self._group is not None and (running is None or running.done()):
            self._keepers[target.key] = self._group.create_task(self._keep_warm(target))

    async def _keep_warm(self, target: Target) -> None:
        pause = _FIRST_RETRY
        while True:
            job = self.start(target)
            while job.end is None:
                await self.wait_for_news()
            if not isinstance(job.end, CachedError):
                return
            log.error(
                "what should be warm is not; trying again",
                extra={"ref": target.key, "reason": str(job.end), "seconds": round(pause)},
            )
            await asyncio.sleep(pause * self._rng.uniform(0.8, 1.2))
            pause = min(pause * 2, _LAST_RETRY)

    async def _work(self, job: WarmJob) -> None:
        try:
            async with self._at_once, aclosing(self._go(job.target)) as events:
                async for event in events:
                    match event:
                        case Resolved():
                            job.resolved = event
                        case Progress():
                            job.progress = event
                        case Unpacking():
                            job.unpacking = event
                        case Arrived(tree, _, fetched):
                            self._store.touch(tree.digest)
                            path = self._store.tree_path(tree.digest)
                            job.end = Warmed(path, tree.digest, tree.size, fetched)
        except CachedError as error:
            job.end = error
        finally:
            if job.end is None:
                job.end = Draining(
                    f"warming {job.target.key} was cut off: the daemon is stopping",
                    hint="warm it again when it has restarted; verified chunks are kept",
                )
            del self._jobs[job.target.key]
            self._end_of_any.set()
            self._end_of_any = asyncio.Event()
