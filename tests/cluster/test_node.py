"""This node's object, against a stand-in for the API server that is fenced as the real one is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cached.cluster.node import KubernetesNode
from cached.core.kubernetes import Condition, Unanswered
from tests.cluster.kubeconfig import of_lab
from tests.daemonset.built import install, only
from tests.daemonset.fence import Fence
from tests.servers.nodes import NodesFake, Raw

OURS = "cached.dev/not-ready"
GPU = "nvidia.com/gpu"
LABEL = "model.cached.dev/tiny"
OPEN = Condition("cached.dev/Ready", True, "Warm", "2 of 2 models and images are warm")


class At:
    """A clock that stands still."""

    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 0.0


def fence_for(node: str) -> Any:
    """What the admission policy of the manifests says to the daemon of `node`."""
    fence = Fence(only(install("examples/cluster"), "ValidatingAdmissionPolicy"))
    user = {
        "username": "system:serviceaccount:cached-system:cached",
        "groups": [],
        "extra": {"authentication.kubernetes.io/node-name": [node]},
    }

    def refusals(subresource: str, old: Raw, new: Raw) -> list[str]:
        name = old["metadata"]["name"]
        request = {"operation": "UPDATE", "name": name, "subResource": subresource, "userInfo": user}
        return fence.refusals(request, old, new) or []

    return refusals


@pytest.fixture
async def server() -> AsyncIterator[NodesFake]:
    async with NodesFake(fence=fence_for("node-1")) as server:
        server.join("node-1", OURS, GPU, labels={"zone": "a"})
        server.join("node-2", OURS)
        yield server


@pytest.fixture
def node(server: NodesFake, tmp_path: Path) -> KubernetesNode:
    return KubernetesNode("node-1", At(), lambda: of_lab(server.url, tmp_path / "config"))


async def test_it_is_read_out_of_the_servers_memory(server: NodesFake, node: KubernetesNode) -> None:
    view = await node.read()
    assert (view.uid, set(view.taints)) == ("uid-of-node-1", {OURS, GPU})
    assert view.labels == {"zone": "a"}
    assert view.conditions["Ready"] == Condition("Ready", True, "KubeletReady", "")
    [request] = server.requests
    assert (request.path, request.query) == ("/api/v1/nodes/node-1", {"resourceVersion": "0"})


async def test_taint_and_labels_in_one_request(server: NodesFake, node: KubernetesNode) -> None:
    await node.read()
    view = await node.change({LABEL: "warm", "model.cached.dev/gone": None}, OURS)
    assert view.taints == {GPU}
    assert view.labels == {"zone": "a", LABEL: "warm"}
    assert [request.method for request in server.requests] == ["GET", "PATCH"]
    assert server.requests[1].query == {"fieldManager": "cached"}


async def test_the_last_taint(server: NodesFake, node: KubernetesNode) -> None:
    server.join("node-1", OURS)
    assert (await node.change({}, OURS)).taints == frozenset()
    assert server.nodes["node-1"]["spec"] == {"taints": []}


async def test_labels_alone_name_no_version(server: NodesFake, node: KubernetesNode) -> None:
    """Nothing that others do to the node makes them fail."""
    await node.read()
    server.between, server.always_between = lambda node: node["metadata"]["labels"].update(new="x"), True
    view = await node.change({LABEL: "warm"}, "")
    assert view.labels == {"zone": "a", "new": "x", LABEL: "warm"}
    [patch] = server.patches()
    assert patch == {"metadata": {"uid": "uid-of-node-1", "labels": {LABEL: "warm"}}}


async def test_taints_that_others_change_meanwhile_are_kept(server: NodesFake, node: KubernetesNode) -> None:
    await node.read()

    def change(node: Raw) -> None:
        node["spec"]["taints"] = [
            {"key": "new.example/taint", "effect": "NoExecute", "value": "x"},
            {"key": OURS, "effect": "NoSchedule"},
            {"key": OURS, "effect": "NoExecute"},
        ]

    server.between = change
    view = await node.change({LABEL: "warm"}, OURS)
    assert [request.status for request in server.requests] == [200, 409, 200, 200]
    assert server.requests[2].query == {}, "the newest, not what is at hand"
    left = {"key": "new.example/taint", "effect": "NoExecute", "value": "x"}
    assert server.nodes["node-1"]["spec"]["taints"] == [left]
    assert view.labels[LABEL] == "warm"


async def test_a_node_that_changes_all_the_time(server: NodesFake, node: KubernetesNode) -> None:
    server.between, server.always_between = lambda node: None, True
    with pytest.raises(Unanswered, match="faster than it can be changed") as caught:
        await node.change({}, OURS)
    assert not caught.value.refused
    assert len(server.requests) == 11
    assert OURS in (await node.read()).taints


async def test_one_that_has_joined_anew_is_left_alone(server: NodesFake, node: KubernetesNode) -> None:
    await node.read()
    server.between = lambda node: server.touch(server.join("node-1", OURS, uid="another"))
    with pytest.raises(Unanswered, match="uid"):
        await node.change({}, OURS)
    server.between = lambda node: server.touch(server.join("node-1", OURS, uid="yet another"))
    with pytest.raises(Unanswered, match="uid"):
        await node.report(OPEN)
    server.join("node-1", OURS, uid="a fourth")
    with pytest.raises(Unanswered, match="uid"):
        await node.change({LABEL: "warm"}, "")
    view = await node.read()
    assert (set(view.taints), dict(view.labels), set(view.conditions)) == ({OURS}, {}, {"Ready"})


async def test_a_condition_is_set_beside_those_of_others(server: NodesFake, node: KubernetesNode) -> None:
    await node.read()

    def beat(node: Raw) -> None:
        node["status"]["conditions"][0]["lastHeartbeatTime"] = "now"

    server.between = beat
    view = await node.report(Condition(OPEN.type, False, "NotWarm", "a is missing"))
    assert not view.conditions[OPEN.type].true
    server.nodes["node-1"]["status"]["conditions"][1]["lastTransitionTime"] = "2020-01-01T00:00:00Z"
    await node.report(Condition(OPEN.type, False, "NotWarm", "b is missing"))
    ready, ours = server.nodes["node-1"]["status"]["conditions"]
    assert ready == {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": "now"}
    assert ours == {
        "type": "cached.dev/Ready",
        "status": "False",
        "reason": "NotWarm",
        "message": "b is missing",
        "lastHeartbeatTime": "2027-01-15T08:00:00Z",
        "lastTransitionTime": "2020-01-01T00:00:00Z",
    }
    view = await node.report(OPEN)
    assert view.conditions[OPEN.type] == OPEN
    ours = server.nodes["node-1"]["status"]["conditions"][1]
    assert (ours["status"], ours["lastTransitionTime"]) == ("True", "2027-01-15T08:00:00Z")


async def test_what_the_policy_refuses(server: NodesFake, node: KubernetesNode) -> None:
    with pytest.raises(Unanswered, match="HTTP 422: a daemon may take its own startup taints") as caught:
        await node.change({}, GPU)
    assert caught.value.refused
    with pytest.raises(Unanswered, match="no labels but those of its own prefix"):
        await node.change({"zone": "b"}, OURS)
    with pytest.raises(Unanswered, match="no conditions but those of its own prefix"):
        await node.report(Condition("Ready", False, "Warm", ""))
    assert server.patches() == []


async def test_another_node(server: NodesFake, tmp_path: Path) -> None:
    other = KubernetesNode("node-2", At(), lambda: of_lab(server.url, tmp_path / "config"))
    with pytest.raises(Unanswered, match="may change no node but the one that it runs on"):
        await other.change({LABEL: "warm"}, "")


@pytest.mark.parametrize(
    ("status", "headers", "refused", "after"),
    [
        (401, {}, True, 0),
        (403, {}, True, 0),
        (429, {"Retry-After": "17"}, False, 17),
        (500, {}, False, 0),
        (503, {"Retry-After": "soon"}, False, 0),
    ],
)
async def test_ways_to_say_no(
    server: NodesFake, node: KubernetesNode, status: int, headers: dict[str, str], refused: bool, after: float
) -> None:
    server.refuse = status, headers
    with pytest.raises(Unanswered, match=f"HTTP {status}: as told") as caught:
        await node.read()
    assert (caught.value.refused, caught.value.after) == (refused, after)


async def test_a_node_that_is_not_there(server: NodesFake, tmp_path: Path) -> None:
    missing = KubernetesNode("node-3", At(), lambda: of_lab(server.url, tmp_path / "config"))
    with pytest.raises(Unanswered, match='HTTP 404: nodes "node-3" not found') as caught:
        await missing.read()
    assert not caught.value.refused


@pytest.mark.parametrize("nonsense", [b"", b"<html>", b"[]", b'{"kind": "Status"}', b'{"metadata": 5}'])
async def test_answers_without_sense(server: NodesFake, node: KubernetesNode, nonsense: bytes) -> None:
    server.nonsense = nonsense
    with pytest.raises(Unanswered, match="no Node"):
        await node.read()


async def test_nobody_there(tmp_path: Path) -> None:
    nobody = NodesFake(port=1)
    node = KubernetesNode("node-1", At(), lambda: of_lab(nobody.url, tmp_path / "config"))
    with pytest.raises(Unanswered, match="ConnectError"):
        await node.read()


async def test_a_configuration_that_is_not_there_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under systemd the daemon starts before kubelet has one."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Unanswered, match="no usable Kubernetes configuration"):
        await KubernetesNode("node-1", At()).read()
