"""The use cases, as every inbound face sees them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from cached import __version__
from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import (
    Busy,
    CachedError,
    DiskFault,
    Draining,
    InUse,
    InvalidRequest,
    NotConfigured,
    NotFound,
)
from cached.core.progress import Progress
from cached.core.ref import Ref
from cached.core.source import Selection, Source
from cached.engine.catalog import LiveCatalog, Target, permit
from cached.engine.fetch import Fetcher
from cached.engine.images.images import Images
from cached.engine.probes import SourceProbes
from cached.engine.publish.hub import Layouts
from cached.engine.publish.mounts import TreeMounts
from cached.engine.resolve import Resolver
from cached.engine.show import Show
from cached.engine.swarm.swarms import Offer
from cached.engine.travel import Arrived, Travel
from cached.engine.views import (
    Accepted,
    AcquireEvent,
    ArtifactView,
    CorruptBlob,
    DescribeView,
    GateView,
    LeaseView,
    PeersView,
    ReadinessView,
    Ready,
    Resolved,
    ScrubView,
    SourceView,
    SpaceView,
    StatusView,
    Unpacking,
    VerifyEvent,
    WarmEvent,
)
from cached.engine.warm import WarmJobs, WarmWatch
from cached.kit.guard import forever
from cached.kit.units import show_bytes
from cached.store.store import PinnedBy, Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import SourceLimits, Transfer

if TYPE_CHECKING:
    from cached.engine.swarm.swarms import Swarms

log = logging.getLogger(__name__)

# Whoever may acquire could otherwise fill the memory with leases that he never releases.
MOST_LEASES: Final = 100_000


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Times in seconds."""

    default_ttl: float = 600.0
    max_ttl: float = 86400.0
    resolve_ttl: float = 0.0
    warm_concurrency: int = 2


class Engine:
    """Resolve, reserve, fetch in one flight, verify, publish, hold."""

    def __init__(
        self,
        store: Store,
        catalog: LiveCatalog,
        sources: Mapping[str, Source],
        transfer: Transfer,
        limits: Mapping[str, SourceLimits],
        options: EngineOptions,
        metrics: Metrics,
        clock: Clock,
        rng: random.Random,
        swarms: Swarms | None = None,
        sent_to_peers: Callable[[], Mapping[str, int]] = dict,
        images: Callable[[Fetcher], Images] | None = None,
        mounts: TreeMounts | None = None,
        notices: Callable[[], Iterable[str]] = tuple,
        gate: Callable[[], GateView | None] = lambda: None,
    ) -> None:
        """sent_to_peers: bytes by the host that they went to. images: makes what knows container images.

        mounts: shows what is acquired; None leaves it where it lies. notices: more warnings for the status.
        gate: this node's, for the readiness.
        """
        self._mounts = mounts
        self._notices = notices
        self._gate = gate
        self._swarms = swarms
        self._sent_to_peers = sent_to_peers
        self._store = store
        self._catalog = catalog
        self._options = options
        self._metrics = metrics
        self._clock = clock
        resolver = Resolver(store, sources, clock, options.resolve_ttl)
        fetcher = Fetcher(store, transfer, limits, clock, metrics, swarms)
        self._travel = Travel(store, resolver, fetcher)
        self._layouts = Layouts(store, self._travel)
        self.images = images(fetcher) if images is not None else None
        self._probes = SourceProbes(catalog, resolver.source, self.images)
        self._warm = WarmJobs(store, self._go, options.warm_concurrency, rng)
        self._show = Show(store, catalog, self._travel, self.images.journey if self.images else None)
        self._draining = False
        self._started_at = clock.now()
        self._recatalogued = asyncio.Event()
        store.on_lost = self._lost

    async def run(self) -> None:
        """Forever: follow the catalog, care for the store, own the warm jobs."""
        self._recatalogued.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("warm jobs", self._warm.run))
            group.create_task(forever("catalog", lambda: self._catalog.follow(self._recatalogued.set)))
            group.create_task(forever("catalog in force", self._apply_catalog))
            group.create_task(forever("store", self._store.run))
            if self._mounts is not None:
                group.create_task(forever("mounts", self._mounts.run))
            if self.images is not None:
                images = self.images
                group.create_task(forever("images", lambda: images.run(self._look_at_images)))
            if self._swarms is not None:
                serve = self._swarms.serve
                group.create_task(forever("swarms", lambda: serve(self._offers)))

    def _offers(self) -> Iterator[Offer]:
        """What is complete here and policy lets other nodes have."""
        store = self._store
        for tree in {r.tree for key, r in store.refs().items() if self._catalog.shares(key, r.source)}:
            if store.is_warm(tree):
                yield Offer(tree, store.last_use(tree) or 0.0, partial(store.tree, tree))
        if self.images is not None:
            yield from self.images.offers()

    def _go(self, target: Target) -> AsyncGenerator[Resolved | Progress | Unpacking | Arrived, None]:
        if not target.is_image:
            return self._layouts.go(target)
        return self._images().go(target)

    def _images(self) -> Images:
        if self.images is None:
            raise NotConfigured(
                "this daemon serves no container images", hint="name registries in images.upstreams"
            )
        return self.images

    async def _apply_catalog(self) -> None:
        while True:
            await self._recatalogued.wait()
            self._recatalogued.clear()
            known, targets = self._catalog.known, self._catalog.targets()
            images = self._catalog.images() if self.images is not None else []
            pins = {target.key for target in targets if target.pin}
            pins |= {each.key for each in images if self._images().journey.pins_here(each)}
            await self._store.set_catalog_pins(pins)
            self._travel.forget_failures({target.key for target in targets})
            if known:
                self._warm.keep([target for target in [*targets, *images] if target.warm_at_start])

    async def _look_at_images(self) -> None:
        """The runtime's store changed: what the catalog keeps warm may have lost layers."""
        for target in self._catalog.images():
            if not await self._images().journey.is_whole(target):
                self._warm.again(target.key)

    def acquire(self, ref: str, *, ttl: float | None, holder: str) -> AsyncGenerator[AcquireEvent, None]:
        """Resolved and Progress while bytes are missing, then Ready once. Leaving early harms nobody."""
        return self._bring(ref, ttl, holder, visible=True)

    def hold(
        self, ref: str, *, ttl: float, holder: str, namespace: str
    ) -> AsyncGenerator[AcquireEvent, None]:
        """As acquire, for a pod of a namespace, or of an unknown one; the path is the store's own.

        Raises Denied, too, when the catalog keeps the model for other namespaces.
        """
        return self._bring(ref, ttl, holder, namespace=namespace)

    async def _bring(
        self,
        ref: str,
        ttl: float | None,
        holder: str,
        *,
        namespace: str | None = None,
        visible: bool = False,
    ) -> AsyncGenerator[AcquireEvent, None]:
        began = time.monotonic()
        outcome = "hit"
        try:
            granted = self._ttl(ttl)
            target = self._target(ref)
            if target.is_image:
                raise InvalidRequest(
                    f"{ref} is a container image, which no path stands for",
                    hint="warm it, and let the container runtime pull it",
                )
            if namespace is not None:
                permit(target, namespace)
            arrived = self._travel.at_hand(target)
            if arrived is None:
                async with aclosing(self._layouts.go(target)) as events:
                    async for event in events:
                        if isinstance(event, Arrived):
                            arrived = event
                            break
                        outcome = "miss"
                        yield event
            assert arrived is not None
            ready = await self._hold(target, arrived, granted, holder, visible)
            self._metrics.acquire_seconds.labels(outcome=outcome).observe(time.monotonic() - began)
            self._metrics.acquires.labels(outcome=outcome).inc()
            yield ready
        except CachedError as error:
            self._metrics.acquires.labels(outcome=type(error).__name__).inc()
            raise

    async def _hold(self, target: Target, arrived: Arrived, ttl: float, holder: str, visible: bool) -> Ready:
        if self._store.lease_count >= MOST_LEASES:
            raise Busy(f"{target.key} is warm, but all {MOST_LEASES} leases are taken", hint="release some")
        tree = arrived.tree
        lease = await self._store.lease(tree.digest, target.key, holder, ttl)
        path = self._store.tree_path(tree.digest)
        if visible and self._mounts is not None:
            try:
                path = await self._mounts.show(tree.digest)
            except BaseException:
                await self._store.unlease(lease.id)
                raise
        return Ready(
            path=path,
            tree=tree.digest,
            lease=LeaseView(lease.id, lease.holder, lease.expires_at, lease.ttl),
            size=tree.size,
            file_count=len(tree.files),
            stale=arrived.stale,
            sample_file=tree.files[0].path,
            ref=target.key,
        )

    def _ttl(self, asked: float | None) -> float:
        if asked is None:
            return self._options.default_ttl
        if not 0 < asked < float("inf"):
            raise InvalidRequest(f"a lease cannot last {asked} seconds", hint="ask for a positive time")
        return min(asked, self._options.max_ttl)

    def _target(self, ref: str) -> Target:
        return self._catalog.target(Ref.parse(ref))

    async def renew(self, lease_id: str, ttl: float | None) -> LeaseView:
        """Extend a lease. Raises NotFound when it has expired."""
        lease = await self._store.renew(lease_id, None if ttl is None else self._ttl(ttl))
        return LeaseView(lease.id, lease.holder, lease.expires_at, lease.ttl)

    async def release(self, lease_id: str) -> None:
        """Give a lease up; one that is gone is no error."""
        await self._store.unlease(lease_id)

    async def warm(
        self, refs: Sequence[str], *, everything: bool, wait: bool, pull: bool = False
    ) -> AsyncGenerator[tuple[str, WarmEvent], None]:
        """Start a job for each ref, and with `wait` tell of each until all have ended.

        Malformed and unknown refs fail the call before any job begins.
        """
        if everything:
            targets = [*self._catalog.targets(), *(self._catalog.images() if self.images is not None else [])]
        else:
            targets = [self._target(ref) for ref in refs]
        targets = [self._wanted(target, pull=pull) for target in targets]
        if self._draining:
            raise Draining(
                "nothing is warmed: the daemon is stopping", hint="try again when it has restarted"
            )
        if not targets:
            raise InvalidRequest("nothing to warm", hint="name models, or declare some in the catalog")
        watched = [WarmWatch(self._warm.start(target)) for target in {t.key: t for t in targets}.values()]
        if not wait:
            for watch in watched:
                yield watch.key, Accepted()
            return
        while watched:
            for watch in watched:
                for event in watch.news():
                    yield watch.key, event
            watched = [watch for watch in watched if not watch.over]
            if watched:
                await self._warm.wait_for_news()

    async def list(self, *, images: bool = False) -> list[ArtifactView]:
        """All models that the catalog declares and that lie here, or all images, by ref."""
        return self._show.images() if images else self._show.models()

    async def describe(self, ref: str) -> DescribeView:
        """All about one artifact."""
        view = self._show.describe(self._known(ref))
        if self._swarms is None or view.artifact.tree is None:
            return view
        return replace(view, swarm=await self._swarms.view(view.artifact.tree))

    def peers(self) -> PeersView:
        """The other nodes that this one knows."""
        if self._swarms is None:
            return PeersView("", "", "", encrypted=False, source="", peers=())
        return self._swarms.peers(self._sent_to_peers())

    async def check_sources(self) -> Sequence[SourceView]:
        """Ask every source of the catalog whether it can be read now, by URI."""
        return await self._probes.ask()

    def readiness(self) -> ReadinessView:
        """Whether what the catalog wants warm from the start is warm, as a pod would get it now."""
        serving, kept = self.healthy and not self._draining, self._warm.kept()
        if kept is None:
            return ReadinessView(serving, None, gate=self._gate())
        return ReadinessView(serving, len(kept), self._show.missing(kept), self._gate())

    def warm_models(self) -> Sequence[str]:
        """Names of the catalog's models that are warm, those first that are to be so from the start."""
        return self._show.warm_models()

    def _known(self, ref: str) -> Target:
        """The target of `ref`, or of what the store remembers under it after the catalog dropped it."""
        try:
            return self._target(ref)
        except CachedError:
            parsed = Ref.parse(ref)
            record = self._store.ref(str(parsed))
            if record is None:
                raise
            uri = record.source.partition(" ")[0]
            return Target(key=str(parsed), uri=uri, selection=Selection(), revision=parsed.revision)

    async def evict(self, ref: str) -> int:
        """Take the artifact's tree off the disk; returns the bytes freed. InUse while anything holds it."""
        target = self._known(ref)
        record = self._store.ref(target.key)
        if record is not None and self._travel.progress(record.tree) is not None:
            raise Busy(f"{target.key} is being fetched", hint="wait for its end, or have its readers leave")
        if record is None or not self._store.is_warm(record.tree):
            raise NotFound(f"{target.key} is not on this node", hint="cachectl ls shows what is")
        freed = await self._store.evict(record.tree)
        if not target.declared:
            await self._store.forget_ref(target.key)
        return freed

    async def pin(self, ref: str) -> ArtifactView:
        """Keep the artifact from eviction, here already or not; durable."""
        target = self._known(ref)
        await self._store.pin(target.key, PinnedBy.OPERATOR)
        return self._show.artifact(target.key, target)

    async def unpin(self, ref: str) -> ArtifactView:
        """Take the operator's pin away. Raises InUse when the catalog pins it."""
        target = self._known(ref)
        if PinnedBy.CATALOG in self._store.pins(target.key):
            raise InUse(f"the catalog pins {target.key}", hint="take pin: true out of its entry")
        await self._store.unpin(target.key, PinnedBy.OPERATOR)
        return self._show.artifact(target.key, target)

    async def verify(self, ref: str) -> AsyncGenerator[VerifyEvent, None]:
        """Read one artifact again, or with an empty ref the whole store; quarantine what is wrong."""
        tree: Digest | None = None
        if ref:
            target = self._known(ref)
            record = self._store.ref(target.key)
            if record is None or not self._store.is_warm(record.tree):
                raise NotFound(f"{target.key} is not on this node", hint="cachectl ls shows what is")
            tree = record.tree
        async with aclosing(self._store.verify(tree)) as rounds:
            async for step in rounds:
                found = tuple(CorruptBlob(blob, tuple(refs)) for blob, refs in step.corrupt)
                yield VerifyEvent(step.done, step.total, found, step.finished)

    async def status(self) -> StatusView:
        """How the daemon is."""
        store = self._store
        space = store.space()
        scrub = store.scrub_status()
        view = StatusView(
            version=__version__,
            started_at=self._started_at,
            root=store.root,
            draining=self._draining,
            space=SpaceView(
                space.capacity, space.used, space.reserved, space.held, space.filesystem_free, space.min_free
            ),
            flight_count=self._travel.flight_count + (self.images.flight_count if self.images else 0),
            lease_count=store.lease_count,
            blob_count=store.blob_count,
            tree_count=store.tree_count,
            catalog=self._catalog.view,
            scrub=ScrubView(scrub.blob_count, scrub.corrupt_count, scrub.last_round),
            warnings=(),
        )
        return replace(view, warnings=(*_warnings(view), *store.warnings, *self._notices()))

    @property
    def healthy(self) -> bool:
        """Whether there is a disk to serve from."""
        try:
            self._store.check_disk()
        except DiskFault:
            return False
        return True

    def _lost(self, tree: Digest, why: str) -> None:
        refs = [key for key, record in self._store.refs().items() if record.tree == tree]
        log.error("a warm model was lost", extra={"tree": tree, "refs": refs, "reason": why})
        for key in refs:
            self._warm.again(key)
        if self._mounts is not None:
            self._mounts.doubt(tree)

    def _wanted(self, target: Target, *, pull: bool) -> Target:
        """The target of a warm job. Raises NotConfigured for an image where there are none."""
        if not target.is_image:
            return target
        self._images()
        return replace(target, pull=pull or target.pull)

    async def drain(self, grace: float) -> None:
        """Refuse new fetches, give those under way `grace` seconds, then cut them off."""
        self._draining = True
        self._travel.close()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._travel.settle(grace))
            if self.images is not None:
                group.create_task(self.images.drain(grace))
        await self._travel.cut()
        if self._swarms is not None:
            self._swarms.close()


def _warnings(status: StatusView) -> list[str]:
    """What an operator should look at, in sentences."""
    space = status.space
    found = []
    if status.catalog.error:
        found.append(f"the catalog file was refused, the last good one is in force: {status.catalog.error}")
    if space.filesystem_free < space.min_free:
        found.append(
            f"the filesystem has {show_bytes(space.filesystem_free)} free, less than the"
            f" {show_bytes(space.min_free)} that min_free demands"
        )
    if space.held > 0.9 * space.capacity:
        found.append("leases and pins hold more than 90 % of the capacity: little can be evicted")
    if status.scrub.corrupt_count:
        found.append(f"the scrub found {status.scrub.corrupt_count} corrupt blobs: check this node's disk")
    return found
