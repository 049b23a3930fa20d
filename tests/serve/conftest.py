"""The real servers on real sockets, in the test's own loop, over an engine that does as it is told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from cached._proto.v1.cache_pb2_grpc import CacheServiceStub
from cached._proto.v1.operator_pb2_grpc import OperatorServiceStub
from cached.serve.api import ApiServer, Listen
from cached.telemetry.metrics import Metrics
from tests.serve.fake_engine import FakeEngine

if TYPE_CHECKING:
    from cached._proto.v1.cache_pb2_grpc import CacheServiceAsyncStub
    from cached._proto.v1.operator_pb2_grpc import OperatorServiceAsyncStub


@dataclass
class Api:
    """A running server and its two doors."""

    server: ApiServer
    engine: FakeEngine
    metrics: Metrics
    pods: Path
    operators: Path
    pods_channel: grpc.aio.Channel
    operators_channel: grpc.aio.Channel
    pod: CacheServiceAsyncStub
    cache: CacheServiceAsyncStub
    operator: OperatorServiceAsyncStub

    def count(self, method: str, code: str) -> float:
        """Calls ended so far."""
        return (
            self.metrics.registry.get_sample_value("cached_rpcs_total", {"method": method, "code": code}) or 0
        )


@pytest.fixture
def run() -> Iterator[Path]:
    """A directory for sockets: their paths must be short, which pytest's own may not be."""
    path = Path(tempfile.mkdtemp(prefix="cached-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def api(run: Path, tmp_path: Path) -> AsyncIterator[Api]:
    engine, metrics = FakeEngine(tmp_path), Metrics()
    pods, operators = run / "pods/cached.sock", run / "operator/cached.sock"
    server = ApiServer(engine, metrics, pods=Listen(pods, directory_mode=0o755), operators=Listen(operators))
    await server.start()
    await server.set_serving(True)
    async with (
        grpc.aio.insecure_channel(f"unix:{pods}") as pods_channel,
        grpc.aio.insecure_channel(f"unix:{operators}") as operators_channel,
    ):
        yield Api(
            server,
            engine,
            metrics,
            pods,
            operators,
            pods_channel,
            operators_channel,
            CacheServiceStub(pods_channel),
            CacheServiceStub(operators_channel),
            OperatorServiceStub(operators_channel),
        )
    await server.stop(0)
