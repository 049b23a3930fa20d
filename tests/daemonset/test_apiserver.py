"""The manifests at a real API server: what it takes, what the daemon's own token may do, whom it lets in."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.daemonset.built import INSTALLS, Object, chart, examples, install, only, pods
from tests.daemonset.pod_security import level
from tests.daemonset.schemas import is_custom
from tests.daemonset.test_schemas import FULL
from tests.servers.kubernetes import API_SERVER, Kubernetes, lacking

_LACKING = lacking(API_SERVER)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(_LACKING), reason=_LACKING)]

_TAINT = "cached.dev/not-ready"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    with Kubernetes(tmp_path_factory.mktemp("cluster")) as running:
        yield running


def _namespace(name: str, **labels: str) -> Object:
    names = {f"pod-security.kubernetes.io/{key}": value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": names}}


def _native(objects: list[Object]) -> list[Object]:
    """Those that Kubernetes itself knows, namespaces first."""
    return sorted(
        (each for each in objects if not is_custom(each)), key=lambda each: each["kind"] != "Namespace"
    )


@pytest.mark.parametrize("objects", [*map(install, INSTALLS), chart(FULL)], ids=[*INSTALLS, "chart"])
def test_it_takes_every_install(server: Kubernetes, objects: list[Object]) -> None:
    server.apply([_namespace("cached-system", enforce="privileged")])
    assert "Warning" not in server.apply(_native(objects))


@pytest.mark.parametrize("allowed", ["restricted", "baseline", "privileged"])
def test_it_agrees_on_pod_security(server: Kubernetes, allowed: str) -> None:
    """What the tests' own rules say of a pod is what its admission does."""
    space = f"only-{allowed}"
    order = ["restricted", "baseline", "privileged"]
    server.apply([_namespace(space, enforce=allowed)])
    described = [pod for found in examples().values() for pod in pods(found)]
    described += [pod for where in INSTALLS for pod in pods(install(where))]
    for pod in described:
        one = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "one", "namespace": space},
            "spec": {**pod["spec"], "priorityClassName": ""},
        }
        said = server.apply([one], "--dry-run=server", check=False)
        assert ("violates PodSecurity" in said) is (order.index(level(pod)) > order.index(allowed)), said


@pytest.fixture(scope="module")
def token(server: Kubernetes) -> str:
    """Of the daemon's pod on node-1. The fence is in force."""
    objects = _native(install("examples/cluster"))
    server.apply([each for each in objects if each["kind"] != "DaemonSet"])
    taints = [{"key": _TAINT, "effect": "NoSchedule"}, {"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    for name in ("node-1", "node-2"):
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"mine": "no"}}}
        server.apply([{**node, "spec": {"taints": taints}}])
    pod = {"containers": [{"name": "a", "image": "a"}], "serviceAccountName": "cached", "nodeName": "node-1"}
    metadata = {"name": "cached-1", "namespace": "cached-system"}
    server.apply([{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}])
    made = server.token("cached", "cached-system", "--bound-object-kind=Pod", "--bound-object-name=cached-1")
    end = time.monotonic() + 30
    while _patch(server, made, "node-2", {"metadata": {"labels": {"model.cached.dev/probe": "x"}}}) == "":
        assert time.monotonic() < end, "the policy is not in force"
        time.sleep(0.3)
    return made


def _patch(server: Kubernetes, token: str, node: str, patch: object, kind: str = "strategic") -> str:
    """Why the API server refuses; empty when it does not."""
    arguments = ["patch", "node", node, f"--type={kind}", "-p", json.dumps(patch)]
    done = server.kubectl(*arguments, token=token, check=False)
    return "" if done.returncode == 0 else done.stderr


def test_the_daemon_opens_its_own_node(server: Kubernetes, token: str) -> None:
    taints = server.get("node", "node-1")["spec"]["taints"]
    place = [taint["key"] for taint in taints].index(_TAINT)
    taken = [{"op": "test", "path": f"/spec/taints/{place}/key", "value": _TAINT}]
    taken.append({"op": "remove", "path": f"/spec/taints/{place}"})
    assert _patch(server, token, "node-1", taken, "json") == ""
    left = [taint["key"] for taint in server.get("node", "node-1")["spec"]["taints"]]
    assert _TAINT not in left
    assert "nvidia.com/gpu" in left
    assert _patch(server, token, "node-1", {"metadata": {"labels": {"model.cached.dev/tiny": "warm"}}}) == ""


@pytest.mark.parametrize(
    ("node", "patch", "about"),
    [
        ("node-2", {"metadata": {"labels": {"model.cached.dev/tiny": "warm"}}}, "no node but the one"),
        ("node-1", {"metadata": {"labels": {"mine": "yes"}}}, "no labels but"),
        ("node-1", {"metadata": {"labels": {"mine": None}}}, "no labels but"),
        ("node-1", {"metadata": {"annotations": {"a": "b"}}}, "nothing of its node"),
        ("node-1", {"spec": {"unschedulable": True}}, "nothing of its node"),
        ("node-1", {"spec": {"taints": None}}, "startup taints"),
    ],
)
def test_and_nothing_else(server: Kubernetes, token: str, node: str, patch: object, about: str) -> None:
    assert about in _patch(server, token, node, patch)


@pytest.mark.parametrize(
    ("changed", "about"),
    [
        ({"conditions": [{"type": "cached.dev/Warm", "status": "True"}]}, ""),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, "no conditions but"),
        ({"capacity": {"nvidia.com/gpu": "8"}}, "nothing of its node"),
    ],
)
def test_of_its_nodes_status_conditions_of_its_own(
    server: Kubernetes, token: str, changed: object, about: str
) -> None:
    """kubectl reads the status before it writes, which the daemon may not: hence by server-side apply."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-1"}, "status": changed}
    done = server.kubectl(
        "apply",
        "--server-side",
        "--subresource=status",
        "-f",
        "-",
        token=token,
        given=json.dumps(node),
        check=False,
    )
    assert (done.returncode == 0) is (about == "")
    assert about in done.stderr


def test_a_token_of_no_pod_changes_no_node(server: Kubernetes, token: str) -> None:
    unbound = server.token("cached", "cached-system")
    assert "no node but the one" in _patch(
        server, unbound, "node-1", {"metadata": {"labels": {"model.cached.dev/x": "y"}}}
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("list endpointslices.discovery.k8s.io -n cached-system", "yes"),
        ("watch endpointslices.discovery.k8s.io -n cached-system", "yes"),
        ("list endpointslices.discovery.k8s.io -n default", "no"),
        ("get secrets -n cached-system", "no"),
        ("list nodes", "no"),
        ("delete nodes", "no"),
        ("create pods -n cached-system", "no"),
    ],
)
def test_what_its_roles_grant(server: Kubernetes, token: str, question: str, answer: str) -> None:
    done = server.kubectl("auth", "can-i", *question.split(), token=token, check=False)
    assert done.stdout.strip() == answer


def test_everything_is_of_the_daemons_account(server: Kubernetes, token: str) -> None:
    account = only(install("examples/cluster"), "ServiceAccount")["metadata"]
    assert server.get("serviceaccount", account["name"], "-n", account["namespace"])
