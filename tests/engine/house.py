"""An engine with its real store, transfer and file source, in one process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from cached.core.errors import SourceUnavailable
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.engine.catalog import LiveCatalog
from cached.engine.engine import Engine, EngineOptions
from cached.engine.publish.mounts import TreeMounts
from cached.engine.publish.publisher import Publisher
from cached.engine.views import AcquireEvent, Ready, WarmEvent
from cached.kit.clock import SystemClock
from cached.sources.file import FileSource
from cached.store.store import Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import Transfer, TransferOptions


class CountingSource:
    """The file source, with its calls counted, a gate before each read, and a switch to be down."""

    scheme = "file"

    def __init__(self, metrics: Metrics) -> None:
        self._inner = FileSource(metrics)
        self.lists = self.opens = self.probes = 0
        self.down = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def list(self, uri: str, selection: Selection) -> list[SourceFile]:
        self.lists += 1
        if self.down:
            raise SourceUnavailable(f"{uri} does not answer")
        return await self._inner.list(uri, selection)

    async def probe(self, uri: str) -> None:
        self.probes += 1
        await self.gate.wait()
        await self._inner.probe(uri)

    async def open(self, file: SourceFile) -> RangeRequest:
        self.opens += 1
        await self.gate.wait()
        return await self._inner.open(file)

    async def close(self) -> None:
        await self._inner.close()


class House:
    """The parts, and short ways to use them."""

    def __init__(
        self, engine: Engine, store: Store, source: CountingSource, metrics: Metrics, catalog: LiveCatalog
    ) -> None:
        self.engine = engine
        self.store = store
        self.source = source
        self.metrics = metrics
        self.catalog = catalog

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    async def events(self, ref: str, ttl: float | None = None) -> list[AcquireEvent]:
        return [event async for event in self.engine.acquire(ref, ttl=ttl, holder="test")]

    async def ready(self, ref: str, ttl: float | None = None) -> Ready:
        last = (await self.events(ref, ttl))[-1]
        assert isinstance(last, Ready)
        return last

    async def warm(self, *refs: str, everything: bool = False) -> dict[str, WarmEvent]:
        """The last event of each."""
        return {ref: event async for ref, event in self.engine.warm(refs, everything=everything, wait=True)}

    async def eventually(self, ref: str, state: str) -> None:
        async with asyncio.timeout(10):
            while (await self.engine.describe(ref)).artifact.state.value != state:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@asynccontextmanager
async def open_house(
    directory: Path,
    models: Mapping[str, str] = {},
    *,
    capacity: int = 1 << 30,
    options: EngineOptions = EngineOptions(),  # noqa: B008 - frozen
    allowed: tuple[str, ...] = (),
    mounts: Path | None = None,
) -> AsyncGenerator[House, None]:
    """`models`: catalog entries as YAML flow mappings without their braces, by name. `mounts`: where what is
    acquired is mounted, if it is.
    """
    metrics, clock = Metrics(), SystemClock()
    file = directory / "catalog.yaml"
    file.write_text("models:\n" + "".join(f"  {name}: {{{entry}}}\n" for name, entry in models.items()))
    store = await Store.open(
        directory / "root", capacity=capacity, min_free=0, metrics=metrics, clock=clock, scrub_rate=0
    )
    source = CountingSource(metrics)
    transfer = Transfer(TransferOptions(connections=4, give_up_after=2), metrics, clock, random.Random(1))
    catalog = LiveCatalog(file, allowed, directory / "root" / "catalog.last.yaml", clock, metrics)
    publisher = Publisher(metrics, noexec=False)
    shown = TreeMounts(store, publisher, mounts, metrics) if mounts is not None else None
    if shown is not None:
        await shown.start()
    engine = Engine(
        store,
        catalog,
        {"file": source},
        transfer,
        {},
        options,
        metrics,
        clock,
        random.Random(1),
        mounts=shown,
    )
    await catalog.start()
    running = asyncio.create_task(engine.run())
    await asyncio.sleep(0.05)
    try:
        yield House(engine, store, source, metrics, catalog)
    finally:
        source.gate.set()
        await engine.drain(0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await transfer.close()
        await source.close()
        await store.close()
        publisher.close()
