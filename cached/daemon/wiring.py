"""Which concrete parts make the daemon: the only place that names them all."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from cached.config import settings as config
from cached.config.publishing import Publish
from cached.config.settings import Settings
from cached.core.source import Source
from cached.engine.catalog import LiveCatalog
from cached.engine.engine import Engine, EngineOptions
from cached.engine.publish.mounts import TreeMounts
from cached.engine.publish.publisher import Publisher
from cached.kit.clock import SystemClock
from cached.kit.mounts import may_mount
from cached.sources.file import FileSource
from cached.sources.s3 import S3Options, S3Source
from cached.store.store import Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import SourceLimits, Transfer, TransferOptions

if TYPE_CHECKING:
    from cached.daemon.csi import NodePlugin
    from cached.daemon.images import ImageParts
    from cached.daemon.neighbours import Neighbours
    from cached.engine.gate.keeper import GateKeeper
    from cached.serve.mirror.server import MirrorServer


@dataclass(frozen=True, slots=True)
class House:
    """The running parts that the lifecycle speaks to."""

    engine: Engine
    catalog: LiveCatalog
    metrics: Metrics
    neighbours: Neighbours | None
    images: ImageParts | None
    store: Store

    def mirror(self) -> MirrorServer | None:
        """Where the node's runtime finds images; None when it is off."""
        if self.images is None or self.engine.images is None:
            return None
        return self.images.mirror(self.engine.images)


@asynccontextmanager
async def open_house(
    settings: Settings,
    metrics: Metrics,
    publisher: Publisher,
    plugin: NodePlugin | None,
    gate: GateKeeper | None,
) -> AsyncGenerator[House, None]:
    """Open store, sources, transfer and engine; close them in reverse.

    Raises Busy when another daemon has the data directory, DiskFault when it cannot be used.
    """
    clock = SystemClock()
    rng = random.Random()  # noqa: S311 - jitter, not secrets
    store = await Store.open(
        settings.root,
        capacity=settings.capacity,
        min_free=settings.min_free,
        scrub_rate=settings.scrub.rate,
        scrub_interval=settings.scrub.interval,
        metrics=metrics,
        clock=clock,
    )
    try:
        s3, file = settings.sources.s3, settings.sources.file
        sources: dict[str, Source] = {
            "s3": S3Source(
                metrics, _s3_options(s3), {n: _s3_options(b) for n, b in s3.buckets.items()}, clock
            ),
            "file": FileSource(metrics, file.roots, _fences(settings.allowed_prefixes)),
        }
        limits = {
            "s3": _limits(s3.limits),
            "file": _limits(file.limits),
            "oci": _limits(settings.images.limits),
        }
        moving = _transfer_options(settings.transfer)
        images = None
        if settings.images.upstreams:
            # Nor does a node without container images load what they take.
            from cached.daemon.images import image_parts_of

            images = image_parts_of(settings.images, moving.ca_file, store, metrics, clock, rng)
            moving = replace(moving, ca_files=images.ca_files)
        transfer = Transfer(moving, metrics, clock, rng)
        neighbours = None
        if advertise := settings.peers.advertise:
            # A node without neighbours does not load what it takes to have some.
            from cached.daemon.neighbours import neighbours_of

            holder = images.runtime_blobs if images else None
            neighbours = neighbours_of(
                settings.peers, advertise, moving, store, transfer, metrics, clock, rng, holder
            )
        catalog = LiveCatalog(
            settings.catalog, settings.allowed_prefixes, settings.root / "catalog.last.yaml", clock, metrics
        )
        options = EngineOptions(
            default_ttl=settings.leases.default_ttl,
            max_ttl=settings.leases.max_ttl,
            resolve_ttl=settings.resolve_ttl,
            warm_concurrency=settings.warm_concurrency,
        )
        mounts = await _tree_mounts(settings.publish, store, publisher, metrics)
        try:
            engine = Engine(
                store,
                catalog,
                sources,
                transfer,
                limits,
                options,
                metrics,
                clock,
                rng,
                neighbours.swarms if neighbours else None,
                (lambda: neighbours.sent) if neighbours else dict,
                images.images if images else None,
                mounts,
                lambda: _notices(settings.publish, mounts, plugin, gate),
                lambda: gate.view if gate is not None else None,
            )
            try:
                yield House(engine, catalog, metrics, neighbours, images, store)
            finally:
                if engine.images is not None:
                    engine.images.close()
        finally:
            await transfer.close()
            if images is not None:
                await images.close()
            for source in sources.values():
                await source.close()
    finally:
        await store.close()


async def _tree_mounts(
    publish: Publish, store: Store, publisher: Publisher, metrics: Metrics
) -> TreeMounts | None:
    """What shows trees by mounts, where that is wanted and permitted."""
    if publish.mode != "bind" or not may_mount():
        return None
    mounts = TreeMounts(store, publisher, publish.directory, metrics)
    await mounts.start()
    return mounts


def _notices(
    publish: Publish, mounts: TreeMounts | None, plugin: NodePlugin | None, gate: GateKeeper | None
) -> Iterator[str]:
    if mounts is not None:
        yield from mounts.warnings
    elif publish.mode == "bind":
        yield "publish.mode is bind, but without CAP_SYS_ADMIN models stay where they lie: directory it is"
    if plugin is not None:
        yield from plugin.notices()
    if gate is not None:
        yield from gate.notices()


def _fences(prefixes: tuple[str, ...]) -> list[Path]:
    """The directories below which any file:// source may be asked for."""
    return [Path(unquote(p.removeprefix("file://"))) for p in prefixes if p.startswith("file:///")]


def _s3_options(bucket: config.S3Bucket) -> S3Options:
    return S3Options(
        endpoint=bucket.endpoint,
        region=bucket.region,
        profile=bucket.profile,
        addressing=bucket.addressing,
        requester_pays=bucket.requester_pays,
        anonymous=bucket.anonymous,
    )


def _transfer_options(transfer: config.Transfer) -> TransferOptions:
    return TransferOptions(
        connections=transfer.connections,
        spare_buffers=transfer.spare_buffers,
        bandwidth=transfer.bandwidth,
        connect_timeout=transfer.connect_timeout,
        stall_timeout=transfer.stall_timeout,
        give_up_after=transfer.give_up_after,
        ca_file=transfer.ca_file,
    )


def _limits(limits: config.Limits) -> SourceLimits:
    return SourceLimits(connections=limits.connections, bandwidth=limits.bandwidth)
