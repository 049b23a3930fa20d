"""Several nodes in one process: real stores, transfers, sources, control and data servers, on loopback."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from cached.config.settings import Peers
from cached.core.digest import Digest
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.daemon.neighbours import Neighbours, neighbours_of
from cached.engine.catalog import LiveCatalog
from cached.engine.engine import Engine, EngineOptions
from cached.engine.views import Ready
from cached.kit.clock import SystemClock
from cached.store.store import Store
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import Transfer, TransferOptions
from tests.engine.house import CountingSource


class NamedSource(CountingSource):
    """Names blobs by their content, as S3 with checksums does. `instead`: the directory it really reads."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(metrics)
        self.instead: Path | None = None

    async def list(self, uri: str, selection: Selection) -> list[SourceFile]:
        return [
            replace(file, blob=Digest.sha256(_path(file).read_bytes()))
            for file in await super().list(uri, selection)
        ]

    async def open(self, file: SourceFile) -> RangeRequest:
        if self.instead is None:
            return await super().open(file)
        others = await super().list(f"file://{self.instead}", Selection())
        return await super().open(next(other for other in others if other.path == file.path))


def _path(file: SourceFile) -> Path:
    return Path(unquote(urlsplit(file.uri).path))


class Node:
    """One daemon's parts."""

    def __init__(
        self,
        address: str,
        engine: Engine,
        store: Store,
        source: NamedSource,
        neighbours: Neighbours,
        metrics: Metrics,
    ) -> None:
        self.address = address
        self.source = source
        self.engine = engine
        self.store = store
        self.neighbours = neighbours
        self.metrics = metrics

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def from_source(self) -> float:
        return self.sample("cached_received_bytes_total", origin="file")

    @property
    def from_peers(self) -> float:
        return self.sample("cached_received_bytes_total", origin="peer")

    async def ready(self, ref: str) -> Ready:
        *_, last = [event async for event in self.engine.acquire(ref, ttl=None, holder="test")]
        assert isinstance(last, Ready)
        return last


def free_ports(count: int) -> list[int]:
    """Pairs of ports of loopback; the first of each is returned."""
    ports: list[int] = []
    while len(ports) < count:
        with socket.socket() as one, socket.socket() as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            if port not in ports and port - 1 not in ports and port + 1 not in ports:
                ports.append(port)
    return ports


def _catalog(directory: Path, models: dict[str, str]) -> Path:
    directory.mkdir(parents=True)
    file = directory / "catalog.yaml"
    file.write_text("models:\n" + "".join(f"  {name}: {{{entry}}}\n" for name, entry in models.items()))
    return file


@asynccontextmanager
async def open_node(
    directory: Path,
    address: str,
    members: Sequence[str],
    models: dict[str, str],
    **peers: object,
) -> AsyncGenerator[Node, None]:
    """`models`: catalog entries as YAML flow mappings without their braces, by name; `peers`: settings."""
    file = _catalog(directory, models)
    metrics, clock, rng = Metrics(), SystemClock(), random.Random(1)
    async with AsyncExitStack() as stack:
        store = await Store.open(
            directory / "root", capacity=1 << 30, min_free=0, metrics=metrics, clock=clock, scrub_rate=0
        )
        stack.push_async_callback(store.close)
        source = NamedSource(metrics)
        options = TransferOptions(connections=8, give_up_after=30)
        transfer = Transfer(options, metrics, clock, rng)
        stack.push_async_callback(transfer.close)
        settings = Peers.model_validate(
            {"advertise": address, "members": {"static": list(members)}, "plaintext": True} | peers
        )
        neighbours = neighbours_of(settings, address, options, store, transfer, metrics, clock, rng)
        catalog = LiveCatalog(file, (), directory / "root" / "catalog.last.yaml", clock, metrics)
        await catalog.start()
        engine = Engine(
            store,
            catalog,
            {"file": source},
            transfer,
            {},
            EngineOptions(),
            metrics,
            clock,
            rng,
            neighbours.swarms,
            lambda: neighbours.sent,
        )
        await neighbours.start()
        running = [asyncio.create_task(engine.run()), asyncio.create_task(neighbours.run())]
        await asyncio.sleep(0.05)
        try:
            yield Node(address, engine, store, source, neighbours, metrics)
        finally:
            await engine.drain(0)
            await neighbours.stop(0)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def open_nodes(
    directory: Path, count: int, models: dict[str, str], **peers: object
) -> AsyncGenerator[list[Node], None]:
    """Nodes that know each other from the start."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                open_node(directory / str(number), address, addresses, models, **peers)
            )
            for number, address in enumerate(addresses)
        ]
        yield nodes
