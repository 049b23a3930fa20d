"""The whole daemon and its gate, with a stand-in for the API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.kubeconfig import write
from tests.gate.cluster import CONDITION, FOREIGN, TAINT
from tests.servers.nodes import NodesFake
from tests.system.daemon import Daemon

BOOT = Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@pytest.fixture
async def server() -> AsyncIterator[NodesFake]:
    async with NodesFake() as server:
        server.join("node-1", TAINT, FOREIGN)
        yield server


@pytest.fixture
async def daemon(server: NodesFake, tmp_path: Path) -> AsyncIterator[Daemon]:
    """Not started yet."""
    kubeconfig = tmp_path / "kubeconfig"
    write(kubeconfig, server.url)
    made = Daemon(
        tmp_path / "home",
        settings={"gate": {"node": "node-1", "condition": CONDITION, "deadline": "2s"}},
        models={},
        environment={"KUBECONFIG": str(kubeconfig)},
    )
    yield made
    await asyncio.to_thread(made.__exit__, None, None, None)


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def taints(server: NodesFake) -> set[str]:
    return {each["key"] for each in server.nodes["node-1"]["spec"].get("taints", [])}


def condition(server: NodesFake) -> dict[str, Any]:
    found = server.nodes["node-1"]["status"]["conditions"]
    return next((each for each in found if each["type"] == CONDITION), {})


async def test_a_catalog_that_wants_nothing_opens_the_node(server: NodesFake, daemon: Daemon) -> None:
    await asyncio.to_thread(daemon.start)
    await until(lambda: condition(server).get("status") == "True")
    assert taints(server) == {FOREIGN}
    assert condition(server)["message"] == "nothing is to be warm"
    record = json.loads((daemon.root / "gate.json").read_text())
    assert (record["boot"], record["node"]) == (BOOT, "uid-of-node-1")
    told = await asyncio.to_thread(daemon.cachectl, "node", "ready", "-o", "json")
    assert json.loads(told.stdout)["gate"]["state"] == "open_warm"
    before = len(server.patches())
    await asyncio.to_thread(daemon.restart)
    reads = len(server.requests)
    await until(lambda: len(server.requests) > reads)
    await asyncio.sleep(1.5)
    assert len(server.patches()) == before


async def test_a_model_that_fails_holds_it_no_longer_than_the_deadline(
    server: NodesFake, daemon: Daemon
) -> None:
    daemon.write_catalog({"gone": {"source": "file:///nowhere/at/all", "warm_at_start": True}})
    await asyncio.to_thread(daemon.start)
    told = await asyncio.to_thread(daemon.cachectl, "node", "ready", code=18)
    assert "1 of 1 models and images are not warm" in told.stdout
    assert "node  node-1" in told.stdout
    await until(lambda: condition(server).get("status") == "True")
    assert taints(server) == {FOREIGN}
    assert condition(server)["reason"] == "DeadlinePassed"
    [line] = daemon.logged("this node is open to pods")
    assert (line["level"], line["reason"]) == ("warning", "deadline")


async def test_a_daemon_serves_without_an_api_server(
    server: NodesFake, daemon: Daemon, tmp_path: Path
) -> None:
    (tmp_path / "kubeconfig").unlink()
    await asyncio.to_thread(daemon.start)
    status = daemon.operator().status
    await until(lambda: any("no usable Kubernetes configuration" in each for each in status().warnings))
    assert await asyncio.to_thread(daemon.terminate) == 0
