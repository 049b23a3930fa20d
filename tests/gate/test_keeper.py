"""A gate at work: its node, its record, its log and metrics, while the API server comes and goes."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cached.cluster.node import KubernetesNode
from cached.engine.gate.agenda import Pace, Wish
from cached.engine.gate.keeper import GateKeeper, GateOptions
from cached.engine.views import ArtifactView, GateState, ReadinessView, State
from cached.kit.clock import SystemClock
from cached.telemetry.metrics import Metrics
from tests.cluster.kubeconfig import of_lab
from tests.gate.cluster import CONDITION, FOREIGN, PREFIX, TAINT
from tests.servers.nodes import NodesFake

WISH = Wish(TAINT, CONDITION, PREFIX, 3)
PACE = Pace(opening=(0, 0.05), labels=(0.1, 0.2), reread=(5, 5), retry=(0.05, 0.1), refused=0.2)
READY = ReadinessView(serving=True, wanted=2)
LACKING = ReadinessView(True, 2, (ArtifactView("a", "s3://b/a", State.FAILED),))


class Bench:
    """A keeper, what it looks at, and what it counted."""

    def __init__(self, server: NodesFake, directory: Path, deadline: float) -> None:
        self.server = server
        self.readiness = LACKING
        self.serving = True
        self.warm: list[str] = []
        self.record = directory / "gate.json"
        self.metrics = Metrics()
        self.boot = "boot-1"
        self._directory = directory
        self._deadline = deadline
        self.keeper = self._made()

    def _made(self) -> GateKeeper:
        clock = SystemClock()
        node = KubernetesNode("node-1", clock, lambda: of_lab(self.server.url, self._directory / "config"))
        options = GateOptions("node-1", self._deadline, WISH)
        rng = random.Random(1)
        return GateKeeper(options, node, self.record, self.boot, self.metrics, clock, rng, PACE)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """A daemon's life."""
        self.keeper = self._made()
        work = self.keeper.run(lambda: self.readiness, lambda: self.warm, lambda: self.serving)
        task = asyncio.create_task(work)
        try:
            yield
            assert not task.done(), task
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    @property
    def taints(self) -> set[str]:
        return {each["key"] for each in self.server.nodes["node-1"]["spec"].get("taints", [])}

    @property
    def condition(self) -> tuple[str, str] | None:
        conditions = self.server.nodes["node-1"]["status"]["conditions"]
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == CONDITION), None)

    @property
    def state(self) -> GateState:
        return self.keeper.view.state

    def open(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("cached_gate_open", {"reason": reason})

    def failures(self, reason: str) -> float:
        name = "cached_gate_failures_total"
        return self.metrics.registry.get_sample_value(name, {"reason": reason}) or 0.0


@pytest.fixture
async def server() -> AsyncIterator[NodesFake]:
    async with NodesFake() as server:
        server.join("node-1", TAINT, FOREIGN)
        yield server


@pytest.fixture
def bench(server: NodesFake, tmp_path: Path) -> Bench:
    return Bench(server, tmp_path, deadline=600)


def logged(caplog: pytest.LogCaptureFixture, message: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.getMessage() == message]


async def test_it_opens_its_node_and_tells_of_it(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "cached")
    async with bench.running():
        await bench.until(lambda: bench.condition == ("False", "NotWarm"))
        assert (bench.state, bench.open("waiting")) == (GateState.CLOSED, 0)
        assert 590 < (bench.keeper.view.opens_in or 0) <= 600
        bench.readiness, bench.warm = READY, ["a"]
        await bench.until(lambda: bench.state is GateState.OPEN_WARM)
        assert (bench.taints, bench.condition) == ({FOREIGN}, ("True", "Warm"))
        assert bench.server.nodes["node-1"]["metadata"]["labels"] == {f"{PREFIX}a": "warm"}
        await bench.until(lambda: bench.open("warm") == 1)
        assert bench.open("waiting") is None
        assert (bench.keeper.view.opens_in, list(bench.keeper.notices())) == (None, [])
    [opened] = logged(caplog, "this node is open to pods")
    assert (opened.levelname, opened.__dict__["reason"]) == ("INFO", "warm")


async def test_one_that_the_deadline_opens_warns_until_all_is_warm(
    server: NodesFake, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bench = Bench(server, tmp_path, deadline=0.3)
    async with bench.running():
        await bench.until(lambda: bench.state is GateState.OPEN_DEADLINE)
        assert (bench.taints, bench.condition) == ({FOREIGN}, ("True", "DeadlinePassed"))
        await bench.until(lambda: bench.open("deadline") == 1)
        [notice] = bench.keeper.notices()
        assert "opened by the deadline" in notice
        bench.readiness = READY
        await bench.until(lambda: not list(bench.keeper.notices()))
    [opened] = logged(caplog, "this node is open to pods")
    assert opened.levelname == "WARNING"
    assert opened.__dict__["detail"].endswith("1 of 2 models and images were not warm: a")


async def test_a_daemon_that_does_not_serve_opens_nothing(bench: Bench) -> None:
    bench.serving, bench.readiness = False, READY
    async with bench.running():
        await bench.until(lambda: bench.condition == ("False", "NotWarm"))
        await asyncio.sleep(0.3)
        assert TAINT in bench.taints
        bench.serving = True
        await bench.until(lambda: bench.state is GateState.OPEN_WARM)


async def test_a_restart_leaves_an_open_node_as_it_is(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.readiness = READY
    async with bench.running():
        await bench.until(lambda: bench.record.exists() and "warm" in bench.record.read_text())
    before = len(bench.server.patches())
    bench.readiness = LACKING
    caplog.set_level(logging.INFO, "cached")
    async with bench.running():
        await bench.until(lambda: bench.open("warm") == 1)
        await bench.until(lambda: bench.server.requests[-1].method == "GET")
        await asyncio.sleep(0.3)
        assert bench.state is GateState.OPEN_WARM
    assert len(bench.server.patches()) == before
    assert not logged(caplog, "this node is open to pods")


async def test_the_next_boot_closes_the_condition(bench: Bench) -> None:
    bench.readiness = READY
    async with bench.running():
        await bench.until(lambda: bench.record.exists() and "warm" in bench.record.read_text())
    bench.readiness, bench.boot = LACKING, "boot-2"
    async with bench.running():
        await bench.until(lambda: bench.condition == ("False", "NotWarm"))
        assert (bench.taints, bench.open("waiting")) == ({FOREIGN}, 0)


async def test_the_deadline_goes_on_over_restarts_without_an_api_server(
    server: NodesFake, tmp_path: Path
) -> None:
    server.refuse = 503, {}
    bench = Bench(server, tmp_path, deadline=1.2)
    for _ in range(3):
        async with bench.running():
            await asyncio.sleep(0.2)
    began = json.loads(bench.record.read_text())["began"]
    async with bench.running():
        server.refuse = None
        await bench.until(lambda: bench.state is GateState.OPEN_DEADLINE)
    assert json.loads(bench.record.read_text()) == {
        "boot": "boot-1",
        "node": "uid-of-node-1",
        "began": began,
        "opened": "deadline",
    }


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"boot": 1, "node": 2, "began": "x", "opened": "y"}'])
async def test_a_garbled_record_is_none(bench: Bench, text: str) -> None:
    bench.record.write_text(text)
    bench.readiness = READY
    async with bench.running():
        await bench.until(lambda: bench.state is GateState.OPEN_WARM)
    assert json.loads(bench.record.read_text())["opened"] == "warm"


async def test_a_record_that_cannot_be_kept_is_no_reason_to_wait(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.record.mkdir()
    bench.readiness = READY
    async with bench.running():
        await bench.until(lambda: bench.state is GateState.OPEN_WARM)
        bench.record.rmdir()
        await bench.until(bench.record.is_file)
    assert len(logged(caplog, "the gate's state cannot be kept for the next start; trying again")) == 1


async def test_missing_rights_are_told_once_and_in_the_status(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "cached")
    bench.server.fence = lambda subresource, old, new: ["it is not permitted"]
    async with bench.running():
        await bench.until(lambda: bench.failures("refused") >= 3)
        [notice] = bench.keeper.notices()
        assert notice.endswith("neither opened nor labelled: HTTP 422: it is not permitted")
        assert bench.keeper.view.trouble == "HTTP 422: it is not permitted"
        assert len(logged(caplog, "this node's object is not as wanted; trying again")) == 1
        bench.server.fence = lambda subresource, old, new: []
        await bench.until(lambda: bench.condition == ("False", "NotWarm"))
        await bench.until(lambda: not list(bench.keeper.notices()))
    assert len(logged(caplog, "this node's object is as wanted again")) == 1
    assert bench.failures("unanswered") == 0


async def test_an_api_server_that_is_away_stops_nothing(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    await bench.server.__aexit__(None, None, None)
    bench.readiness = READY
    async with bench.running():
        await bench.until(lambda: bench.failures("unanswered") >= 3)
        assert bench.state is GateState.CLOSED
        assert "ConnectError" in bench.keeper.view.trouble
        async with bench.server:
            await bench.until(lambda: bench.state is GateState.OPEN_WARM)
            await bench.until(lambda: not bench.keeper.view.trouble)
    assert len(logged(caplog, "this node's object is not as wanted; trying again")) == 1


async def test_conflicts_and_labels_that_come_and_go(bench: Bench) -> None:
    bench.readiness, bench.warm = READY, ["a", "org/b"]

    def beat(node: dict[str, object]) -> None:
        pass

    bench.server.between = beat
    async with bench.running():
        await bench.until(lambda: bench.state is GateState.OPEN_WARM)
        bench.warm = ["org/b", "c", "d", "e"]
        labels = {f"{PREFIX}{name}": "warm" for name in ("org--b", "c", "d")}
        await bench.until(lambda: bench.server.nodes["node-1"]["metadata"]["labels"] == labels)
    assert [request.status for request in bench.server.requests].count(409) == 1
    assert bench.failures("unanswered") == 0
