"""A real plugin, asked as kubelet asks it, and an API server that knows of it."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cached.cli.finding import Finding
from tests.cluster import kubeconfig
from tests.csi.kubelet import Kubelet
from tests.doctor.patient import bad, model, seen
from tests.publish.playground import Playground
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

DRIVER = "csi.cached.dev"
STORAGE = "/apis/storage.k8s.io/v1"
SPEC = {"attachRequired": False, "podInfoOnMount": True, "volumeLifecycleModes": ["Ephemeral"]}


@pytest.fixture(scope="module")
def playground() -> Iterator[Playground]:
    path = Path(tempfile.mkdtemp(prefix="cached-"))
    try:
        with Playground(path) as place:
            yield place
    finally:
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def kubelet(playground: Playground) -> Kubelet:
    kubelet = Kubelet(playground.path / "kubelet")
    (kubelet.root / "plugins_registry").mkdir()
    return kubelet


@pytest.fixture(scope="module")
def daemon(kubelet: Kubelet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    home = tmp_path_factory.mktemp("daemon")
    csi = {"driver": DRIVER, "node": "n1", "kubelet_root": str(kubelet.root)}
    with Daemon(home / "node", models={"tiny": {"source": model(home)}}, settings={"csi": csi}) as daemon:
        asyncio.run(kubelet.register())
        yield daemon


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))


class ApiServer(BaseHTTPRequestHandler):
    """Answers with the objects that the server has, by path."""

    def do_GET(self) -> None:
        found = self.server.objects.get(self.path)  # type: ignore[attr-defined]
        allowed = self.headers["Authorization"] == "Bearer right"
        body = json.dumps(found or {"kind": "Status"}).encode()
        self.send_response(200 if found and allowed else 404 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """What the cluster has: a driver that is as it must be, and a kubelet that took it on."""
    objects: dict[str, Any] = {
        f"{STORAGE}/csidrivers/{DRIVER}": {"spec": SPEC},
        f"{STORAGE}/csinodes/n1": {"spec": {"drivers": [{"name": DRIVER}]}},
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        server.objects = objects  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        kubeconfig.write(tmp_path / "kubeconfig", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield objects
        server.shutdown()
        thread.join()


def levels(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.level, finding.subject) for finding in findings]


def test_a_plugin_that_kubelet_has_taken_on(daemon: Daemon) -> None:
    plugin, cluster = seen(daemon, "csi")
    assert (plugin.level, "presented to kubelet" in plugin.message) == ("ok", True)
    assert (cluster.level, cluster.message.startswith("not looked up: ")) == ("skipped", True)
    assert bad(seen(daemon, "mounts")) == []


def test_what_the_cluster_knows_of_it(daemon: Daemon, objects: dict[str, Any]) -> None:
    assert levels(seen(daemon, "csi")) == [("ok", DRIVER), ("ok", "CSIDriver"), ("ok", "CSINode")]
    (clock,) = seen(daemon, "clock")
    assert (clock.level, clock.message) == ("ok", "within 30 s of the API server")
    objects[f"{STORAGE}/csinodes/n1"]["spec"]["drivers"] = []
    (message,) = bad(seen(daemon, "csi"))
    assert message == f"kubelet of n1 has not taken {DRIVER} on"
    del objects[f"{STORAGE}/csidrivers/{DRIVER}"]
    (message,) = bad(seen(daemon, "csi"))
    assert message == f"the cluster has no CSIDriver {DRIVER}"


def test_a_plugin_that_kubelet_refuses_and_sockets_that_are_gone(daemon: Daemon, kubelet: Kubelet) -> None:
    asyncio.run(_refuse(kubelet, "another plugin has that name"))
    eventually(lambda: bad(seen(daemon, "csi")) != [])
    (message,) = bad(seen(daemon, "csi"))
    assert message == "kubelet refuses the plugin: another plugin has that name"
    assert bad(seen(daemon, "daemon")) == [], "it is told once"
    asyncio.run(kubelet.register())
    eventually(lambda: bad(seen(daemon, "csi")) == [])
    (kubelet.root / "plugins_registry" / f"{DRIVER}-reg.sock").unlink()
    (message,) = bad(seen(daemon, "csi"))
    assert message.startswith("kubelet does not find the plugin: there is no socket")
    (kubelet.root / "plugins" / DRIVER / "csi.sock").unlink()
    assert bad(seen(daemon, "csi"))[0].startswith("kubelet cannot ask the plugin: there is no socket")


async def _refuse(kubelet: Kubelet, why: str) -> None:
    import grpc

    from cached._proto.pluginregistration.v1.api_pb2 import RegistrationStatus
    from cached._proto.pluginregistration.v1.api_pb2_grpc import RegistrationStub

    path = kubelet.root / "plugins_registry" / f"{kubelet.driver}-reg.sock"
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        status = RegistrationStatus(plugin_registered=False, error=why)
        await RegistrationStub(channel).NotifyRegistrationStatus(status, timeout=5)
