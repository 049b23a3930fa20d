"""A node that has everything, and with which nothing is wrong."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cached.cli.containerd import installed
from cached.cli.doctor.checks import CHECKS
from cached.cli.doctor.run import told
from cached.cli.doctor.scene import View, open_scene
from cached.cli.finding import worst
from tests.csi.kubelet import Kubelet
from tests.doctor.patient import model
from tests.doctor.test_peers import Pair
from tests.images.pictures import hello
from tests.images.site import Node, Upstream
from tests.publish.playground import Playground
from tests.servers.containerd import lacking, programs
from tests.servers.faulty import FaultyServer
from tests.servers.ports import free_ports
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.system.waiting import eventually

VERSION = "1.7"
DRIVER = "csi.cached.dev"


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with DockerRegistry(tmp_path / "registry") as registry, FaultyServer(registry.endpoint) as front:
        yield Upstream(registry, front)


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="cached-"))
    try:
        with Playground(path):
            yield path
    finally:
        shutil.rmtree(path)


def test_nothing_is_found_on_a_node_that_is_well(
    upstream: Upstream, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models by mounts and volumes, images by containerd and its mirror, and a neighbour."""
    if why := lacking(VERSION):
        pytest.skip(why)
    monkeypatch.setenv("PATH", str(programs(VERSION)), prepend=os.pathsep)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setattr(installed, "USUAL", tmp_path / "node/containerd/config.toml")
    image = upstream.offer("team/app", hello(1 << 20))
    kubelet = Kubelet(place / "kubelet")
    (kubelet.root / "plugins_registry").mkdir()
    with ExitStack() as stack:
        pair = stack.enter_context(Pair(tmp_path))
        settings = {
            "publish": {"mode": "bind", "directory": str(place / "mounts")},
            "csi": {"driver": DRIVER, "kubelet_root": str(kubelet.root)},
            "metrics": f"127.0.0.1:{free_ports(1)[0]}",
            "peers": pair.one.settings["peers"],
        }
        node = stack.enter_context(Node(tmp_path / "node", upstream, containerd=VERSION, settings=settings))
        daemon = node.daemon
        daemon.write_catalog({"tiny": {"source": model(tmp_path), "warm_at_start": True, "pin": True}})
        daemon.catalog.write_text(f"{daemon.catalog.read_text()}\nimages: {{'{image}': {{pull: true}}}}\n")
        daemon.settings["catalog"] = str(daemon.catalog)
        daemon.start()
        pair.two.start()
        asyncio.run(kubelet.register())
        eventually(lambda: daemon.operator().readiness().ready, 30)
        eventually(lambda: len(daemon.operator().peers().peers) == 1)

        scene = open_scene(daemon.operator_address, None, "", {})
        found = {check.name: list(told(check, scene)) for check in CHECKS[View.NODE]}
        assert {name: worst(each) for name, each in found.items() if name != "systemd"} == {
            check.name: "ok" for check in CHECKS[View.NODE] if check.name != "systemd"
        }, found
