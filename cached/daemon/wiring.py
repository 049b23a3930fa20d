"""Which concrete parts make the daemon: the only place that names them all."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cached import __version__
from cached.config import settings as config
from cached.config.settings import Settings
from cached.engine.catalog import LiveCatalog
from cached.engine.engine import Engine, EngineOptions
from cached.kit.clock import SystemClock
from cached.sources.file import FileSource
from cached.sources.s3 import S3Options, S3Source
from cached.store.store import Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import SourceLimits, Transfer, TransferOptions


@dataclass(frozen=True, slots=True)
class House:
    """The running parts that the lifecycle speaks to."""

    engine: Engine
    catalog: LiveCatalog
    metrics: Metrics


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncGenerator[House, None]:
    """Open store, sources, transfer and engine; close them in reverse.

    Raises Busy when another daemon has the data directory, DiskFault when it cannot be used.
    """
    clock = SystemClock()
    rng = random.Random()  # noqa: S311 - jitter, not secrets
    metrics = Metrics()
    metrics.build.labels(version=__version__).set(1)
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
        sources = {
            "s3": S3Source(_s3_options(settings.sources.s3), metrics),
            "file": FileSource(metrics),
        }
        transfer = Transfer(_transfer_options(settings.transfer), metrics, clock, rng)
        limits = {
            "s3": _limits(settings.sources.s3.limits),
            "file": _limits(settings.sources.file.limits),
        }
        catalog = LiveCatalog(
            settings.catalog, settings.allowed_prefixes, settings.root / "catalog.last.yaml", clock, metrics
        )
        options = EngineOptions(
            default_ttl=settings.leases.default_ttl,
            max_ttl=settings.leases.max_ttl,
            resolve_ttl=settings.resolve_ttl,
            warm_concurrency=settings.warm_concurrency,
        )
        try:
            yield House(
                Engine(store, catalog, sources, transfer, limits, options, metrics, clock, rng),
                catalog,
                metrics,
            )
        finally:
            await transfer.close()
            for source in sources.values():
                await source.close()
    finally:
        await store.close()


def _s3_options(s3: config.S3) -> S3Options:
    return S3Options(
        **_bucket(s3),
        buckets={name: S3Options(**_bucket(bucket)) for name, bucket in s3.buckets.items()},
    )
