"""The gate at a real API server: with the token of a pod on its node, and the rights of the manifests."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig, SingleConfig

from cached.cluster.node import KubernetesNode
from cached.core.kubernetes import Condition, Unanswered
from cached.kit.clock import SystemClock
from tests.cluster.kubeconfig import write
from tests.daemonset.built import install
from tests.daemonset.schemas import is_custom
from tests.servers.kubernetes import API_SERVER, Kubernetes, lacking
from tests.system.daemon import Daemon

_LACKING = lacking(API_SERVER)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]

TAINT = "cached.dev/not-ready"
GPU = "nvidia.com/gpu"
OTHERS = {GPU, "node.kubernetes.io/not-ready"}
"""The last is put on every new node, until kubelet says that it is ready."""
LABEL = "model.cached.dev/tiny"
CONDITION = "cached.dev/Ready"
OPEN = Condition(CONDITION, True, "Warm", "all is warm")
NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    """With the rights and the fence that the manifests bring."""
    with Kubernetes(tmp_path_factory.mktemp("cluster")) as server:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cached-system"}}
        objects = [each for each in install("examples/cluster") if not is_custom(each)]
        server.apply([space])
        server.apply([each for each in objects if each["kind"] not in ("DaemonSet", "Namespace")])
        yield server


class Own:
    """A node that has just joined, and what a daemon's pod on it has."""

    def __init__(self, server: Kubernetes, directory: Path) -> None:
        self.server = server
        self.name = f"node-{next(NUMBERS)}"
        self.kubeconfig = directory / "kubeconfig"
        self.join()
        space, pod = "cached-system", f"cached-{self.name}"
        containers = [{"name": "a", "image": "a"}]
        spec = {"containers": containers, "serviceAccountName": "cached", "nodeName": self.name}
        metadata = {"name": pod, "namespace": space}
        server.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
        bound = ("--bound-object-kind=Pod", f"--bound-object-name={pod}")
        self.token = server.token("cached", space, *bound)
        write(self.kubeconfig, server.url, self.token, **{"certificate-authority": str(server.ca)})

    def join(self) -> None:
        taints = [{"key": key, "effect": "NoSchedule"} for key in (TAINT, GPU)]
        metadata = {"name": self.name, "labels": {"zone": "a"}}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {"taints": taints}}
        self.server.apply([node])

    def seen(self, name: str = "") -> KubernetesNode:
        """As the daemon here would see the node of that name."""
        return KubernetesNode(name or self.name, SystemClock(), self.config)

    def config(self) -> SingleConfig:
        found = KubeConfig.from_file(self.kubeconfig).get()
        assert found is not None
        return found

    def raw(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(
            self.server.kubectl("get", f"--raw=/api/v1/nodes/{self.name}").stdout
        )
        return found

    @property
    def taints(self) -> set[str]:
        return {each["key"] for each in self.raw()["spec"].get("taints", [])}

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.raw()["metadata"]["labels"]
        return {key: value for key, value in found.items() if key.startswith("model.cached.dev/")}

    @property
    def condition(self) -> dict[str, str]:
        conditions = self.raw()["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == CONDITION), {})

    def patch(self, patch: object, *flags: str) -> None:
        """By somebody who may all."""
        self.server.kubectl("patch", "node", self.name, *flags, "-p", json.dumps(patch))

    def until(self, true: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end
            time.sleep(0.2)


@pytest.fixture
def own(server: Kubernetes, tmp_path: Path) -> Own:
    """Once the fence is in force, which takes a moment after it was applied."""
    made, other = Own(server, tmp_path), server.apply
    other([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "other"}}])
    patch = json.dumps({"metadata": {"labels": {"model.cached.dev/probe": "x"}}})
    as_daemon = ("patch", "node", "other", "-p", patch)
    made.until(lambda: server.kubectl(*as_daemon, token=made.token, check=False).returncode != 0)
    return made


async def test_the_own_node_is_opened_labelled_and_given_a_condition(own: Own) -> None:
    node = own.seen()
    view = await node.read()
    assert (set(view.taints), view.labels["zone"]) == ({TAINT, *OTHERS}, "a")
    await node.report(Condition(CONDITION, False, "NotWarm", "tiny is missing"))
    first = own.condition
    view = await node.change({LABEL: "warm", "model.cached.dev/gone": None}, TAINT)
    assert (set(view.taints), view.labels[LABEL]) == (OTHERS, "warm")
    await asyncio.sleep(1.1)  # so that the next time is another
    view = await node.report(OPEN)
    assert view.conditions[CONDITION] == OPEN
    assert (own.taints, own.labels) == (OTHERS, {LABEL: "warm"})
    last = own.condition
    assert (first["status"], last["status"], last["message"]) == ("False", "True", "all is warm")
    assert first["lastTransitionTime"] < last["lastTransitionTime"] <= last["lastHeartbeatTime"]
    managers = {each["manager"] for each in own.raw()["metadata"]["managedFields"]}
    assert "cached" in managers
    await node.change({LABEL: None}, "")
    assert own.labels == {}


async def test_what_it_may_not_is_refused_and_said_to_be(own: Own) -> None:
    node = own.seen()
    for labels, taint, about in (
        ({"zone": "b"}, "", "no labels but"),
        ({}, GPU, "take its own startup taints"),
    ):
        with pytest.raises(Unanswered, match=about) as caught:
            await node.change(labels, taint)
        assert caught.value.refused
    with pytest.raises(Unanswered, match="no conditions but"):
        await node.report(Condition("Ready", False, "No", ""))
    with pytest.raises(Unanswered, match="no node but the one that it runs on") as caught:
        await own.seen("other").change({LABEL: "warm"}, "")
    assert caught.value.refused
    assert own.taints == {TAINT, *OTHERS}


async def test_without_rights(server: Kubernetes, own: Own) -> None:
    metadata = {"name": "nobody", "namespace": "default"}
    server.apply([{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}])
    token = server.kubectl("-n", "default", "create", "token", "nobody").stdout.strip()
    write(own.kubeconfig, server.url, token, **{"certificate-authority": str(server.ca)})
    with pytest.raises(Unanswered, match=r"HTTP 403: .*cannot get resource") as caught:
        await own.seen().read()
    assert caught.value.refused
    write(own.kubeconfig, server.url, "wrong", **{"certificate-authority": str(server.ca)})
    with pytest.raises(Unanswered, match="HTTP 401") as caught:
        await own.seen().read()
    assert caught.value.refused


async def test_a_node_that_others_change_all_the_time(own: Own) -> None:
    """As kubelet, autoscalers and people do: nothing of theirs is lost, and the taint goes."""
    over = threading.Event()
    written = []

    def busy() -> None:
        for number in itertools.count():
            if over.is_set():
                return
            own.patch({"metadata": {"annotations": {"beat": str(number)}}})
            key = f"theirs.example/{number}"
            taint = {"op": "add", "path": "/spec/taints/-", "value": {"key": key, "effect": "NoSchedule"}}
            own.patch([taint], "--type=json")
            written.append(key)

    thread = threading.Thread(target=busy)
    thread.start()
    try:
        node = own.seen()
        await node.read()
        for number in range(8):
            await asyncio.sleep(0.3)
            await node.change({LABEL: f"v{number}"}, "")
        tries = 0
        while TAINT in (await node.read()).taints:
            tries += 1
            assert tries < 20
            try:
                await node.change({LABEL: "warm"}, TAINT)
            except Unanswered:
                continue
    finally:
        over.set()
        thread.join()
    assert own.taints == {*OTHERS, *written}
    assert own.labels == {LABEL: "warm"}
    assert len(written) > 3


async def test_a_node_that_has_joined_anew_is_another(own: Own) -> None:
    node = own.seen()
    await node.read()
    own.server.kubectl("delete", "node", own.name)
    with pytest.raises(Unanswered, match="HTTP 404"):
        await node.change({LABEL: "warm"}, TAINT)
    own.join()
    with pytest.raises(Unanswered, match="uid"):
        await node.change({LABEL: "warm"}, TAINT)
    with pytest.raises(Unanswered, match="uid"):
        await node.report(OPEN)
    assert (own.taints, own.labels, own.condition) == ({TAINT, *OTHERS}, {}, {})
    await node.read()
    await node.change({LABEL: "warm"}, TAINT)
    assert own.taints == OTHERS


@pytest.fixture
def daemon(own: Own, tmp_path: Path) -> Iterator[Daemon]:
    """Not started yet; its catalog has a model that is warmed at the start."""
    files = tmp_path / "files"
    files.mkdir()
    (files / "weights").write_bytes(b"weights" * 1000)
    made = Daemon(
        tmp_path / "home",
        settings={
            "gate": {"node": own.name, "condition": CONDITION, "deadline": "12s"},
            "allow_sources": [f"file://{files}"],
        },
        models={"tiny": {"source": f"file://{files}", "warm_at_start": True}},
        environment={"KUBECONFIG": str(own.kubeconfig)},
    )
    yield made
    made.__exit__(None, None, None)


def test_a_daemon_opens_its_node_and_leaves_it_open(own: Own, daemon: Daemon) -> None:
    daemon.start()
    assert daemon.cachectl("node", "ready", "--wait", "--timeout", "20s").stdout.startswith("ready: 1 of 1")
    own.until(lambda: TAINT not in own.taints and own.condition.get("reason") == "Warm")
    assert own.condition["message"] == "1 of 1 models and images are warm"
    own.until(lambda: daemon.metric('cached_gate_open{reason="warm"}') == 1)
    own.until(lambda: own.labels == {LABEL: "warm"}, seconds=90)
    (Path(daemon.home).parent / "files" / "weights").unlink()
    own.patch({"spec": {"taints": [{"key": TAINT, "effect": "NoSchedule"}]}})  # somebody's own decision
    version = own.raw()["metadata"]["resourceVersion"]
    daemon.restart()
    time.sleep(12)
    assert own.raw()["metadata"]["resourceVersion"] == version, "a restart changes nothing"
    assert daemon.metric('cached_gate_open{reason="warm"}') == 1
    assert list(daemon.operator().status().warnings) == []


def test_a_catalog_that_wants_nothing_opens_at_once(own: Own, daemon: Daemon) -> None:
    daemon.write_catalog({"big": {"source": "s3://no-such-bucket/big"}})
    daemon.start()
    own.until(lambda: TAINT not in own.taints, seconds=8)
    assert own.condition["message"] == "nothing is to be warm"
    assert own.labels == {}


def test_a_model_that_fails_holds_it_until_the_deadline(own: Own, daemon: Daemon) -> None:
    daemon.write_catalog({"gone": {"source": "file:///nowhere/at/all", "warm_at_start": True}})
    daemon.start()
    began = time.monotonic()
    own.until(lambda: own.condition.get("status") == "False")
    told = daemon.cachectl("node", "ready", code=18).stdout
    assert "1 of 1 models and images are not warm" in told
    assert f"node  {own.name}" in told
    assert "closed, opens in" in told
    assert TAINT in own.taints
    own.until(lambda: TAINT not in own.taints, seconds=40)
    assert time.monotonic() - began > 10
    own.until(lambda: own.condition["reason"] == "DeadlinePassed")
    assert "were not warm: gone" in own.condition["message"]
    own.until(lambda: daemon.metric('cached_gate_open{reason="deadline"}') == 1)
    assert any("opened by the deadline" in each for each in daemon.operator().status().warnings)
    [line] = daemon.logged("this node is open to pods")
    assert line["level"] == "warning"


def test_a_daemon_without_rights_serves_and_says_so(own: Own, daemon: Daemon) -> None:
    write(own.kubeconfig, own.server.url, "wrong", **{"certificate-authority": str(own.server.ca)})
    daemon.start()
    daemon.cachectl("get", "tiny")
    own.until(lambda: any("HTTP 401" in each for each in daemon.operator().status().warnings))
    time.sleep(5)
    assert len(daemon.logged("this node's object is not as wanted; trying again")) == 1
    assert "wrong" not in daemon.log.replace("went wrong", "")
    write(own.kubeconfig, own.server.url, own.token, **{"certificate-authority": str(own.server.ca)})
    own.until(lambda: TAINT not in own.taints, seconds=60)
    assert own.token not in daemon.log
