"""The operators' HTTP face, over a real socket."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from cached.core.errors import NotConfigured
from cached.serve.ops.server import OpsServer
from cached.telemetry.metrics import Metrics


class Ops:
    """A running face, and whether it says that it serves."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.alive = True
        self.serving = False
        self.server = OpsServer("127.0.0.1:0", self.metrics, lambda: self.alive, lambda: self.serving)
        self.port = self.server.start()

    def get(self, path: str, method: str = "GET") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def ops() -> Iterator[Ops]:
    running = Ops()
    yield running
    running.server.stop()


def test_metrics_are_prometheus_text(ops: Ops) -> None:
    ops.metrics.received.labels(origin="s3").inc(42)
    status, text = ops.get("/metrics")
    assert status == 200
    samples = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert samples["cached_received_bytes_total"] == 42


def test_health_is_life_and_readiness_is_service(ops: Ops) -> None:
    assert ops.get("/healthz")[0] == 200
    assert ops.get("/readyz")[0] == 503
    ops.serving = True
    assert ops.get("/readyz")[0] == 200
    ops.alive = False
    assert ops.get("/healthz") == (503, "the event loop hangs\n")


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/../etc", "GET", 404), ("/metrics", "POST", 405)],
)
def test_nothing_else_is_there(ops: Ops, path: str, method: str, status: int) -> None:
    assert ops.get(path, method)[0] == status


def test_a_taken_port_is_told_by_its_address(ops: Ops) -> None:
    with pytest.raises(NotConfigured, match=f"127.0.0.1:{ops.port}"):
        OpsServer(f"127.0.0.1:{ops.port}", Metrics(), lambda: True, lambda: True).start()
