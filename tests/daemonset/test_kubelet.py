"""The manifests on a real node: a real kubelet starts the daemon's pod, and pods with models in them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.daemonset.built import Object, composed, examples
from tests.daemonset.cluster import MODEL, SERVING, SPACE, Cluster, cluster, why_not

_REASON = why_not()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(_REASON), reason=f"no cluster of one node: {_REASON}"),
]

TAINT = "cached.dev/not-ready"
DAEMON = "cached-1"
_OBJECTS = composed("csi", "gate")
_VLLM = "vllm-volume.yaml"
_FOREVER = ("/bin/busybox", "sleep", "3600")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node that joined with the startup taint, and the daemon's pod on it."""
    with cluster(tmp_path_factory.mktemp("cluster"), taints=[TAINT]) as made:
        made.until(lambda: _condition(made.node, "Ready") == "True" if _is_there(made) else False)
        assert TAINT in _taints(made.node)
        made.install(_OBJECTS)
        made.offer(
            {
                "tiny": {"warm_at_start": True},
                "theirs": {"namespaces": ["elsewhere"]},
            }
        )
        made.start_daemon(_OBJECTS, DAEMON)
        yield made


def _is_there(made: Cluster) -> bool:
    return made.kubernetes.kubectl("get", "node", "node-1", check=False).returncode == 0


def _condition(one: Object, kind: str) -> str:
    found = one["status"].get("conditions", [])
    return next((str(each["status"]) for each in found if each["type"] == kind), "")


def _taints(node: Object) -> set[str]:
    return {each["key"] for each in node["spec"].get("taints", [])}


def _described(name: str = _VLLM) -> Object:
    [workload] = examples()[name]
    template: Object = workload["spec"]["template"]
    return template


def test_the_daemon_opens_the_node_by_its_own_token(joined: Cluster) -> None:
    """Its account's token, as kubelet mounts it; kubelet's own rights would not do."""
    joined.until(lambda: TAINT not in _taints(joined.node))
    assert joined.node["metadata"]["labels"]["model.cached.dev/tiny"] == "warm"
    drivers = joined.kubernetes.get("csinode", "node-1")["spec"]["drivers"]
    assert [each["name"] for each in drivers] == ["csi.cached.dev"]


def test_a_pod_starts_with_its_model_cannot_write_to_it_and_ends_after_the_daemon_was_replaced(
    joined: Cluster,
) -> None:
    """As the example for vLLM has it, and as root, whom no permission stops."""
    user, root = (joined.serving(_described(), "tiny", _FOREVER) for _ in range(2))
    root["spec"]["securityContext"] = {"runAsUser": 0}
    for name, pod in (("user", user), ("root", root)):
        joined.start(pod, name)
    for name in ("user", "root"):
        joined.until_ready(name)
        assert joined.sh(name, "busybox wc -c < /model/model.safetensors").strip() == str(len(MODEL))
    assert "Read-only file system" in joined.sh("root", "echo x > /model/model.safetensors", check=False)
    assert "Read-only file system" in joined.sh("root", "echo x > /model/new", check=False)
    assert joined.sh("user", "echo x > /model/model.safetensors", check=False)
    assert len(joined.mounts()) == 2
    for options in joined.mounts().values():
        assert {"ro", "nosuid", "nodev"} <= options
    assert "csi/" in joined.cachectl(DAEMON, "describe", "tiny")

    joined.delete(DAEMON, SPACE)
    assert joined.sh("user", "busybox wc -c < /model/model.safetensors").strip() == str(len(MODEL))
    joined.start_daemon(_OBJECTS, DAEMON)
    assert joined.sh("user", "busybox wc -c < /model/model.safetensors").strip() == str(len(MODEL))
    assert _leases(joined) == 2
    for name in ("user", "root"):
        joined.delete(name)
    assert joined.mounts() == {}
    assert _leases(joined) == 0


def _leases(joined: Cluster) -> int:
    status = json.loads(joined.cachectl(DAEMON, "status", "-o", "json"))
    return int(status["lease_count"])


def test_a_pod_that_ends_while_the_daemon_is_away_goes_once_it_is_back(joined: Cluster) -> None:
    joined.start(joined.serving(_described(), "tiny", _FOREVER), "left")
    joined.until_ready("left")
    joined.delete(DAEMON, SPACE)
    joined.kubernetes.kubectl("-n", SERVING, "delete", "pod", "left", "--grace-period=2", "--wait=false")
    joined.until(lambda: "containerStatuses" in joined.pod("left")["status"] and _ended(joined.pod("left")))
    joined.start_daemon(_OBJECTS, DAEMON)
    joined.kubernetes.kubectl("-n", SERVING, "wait", "--for=delete", "pod/left", "--timeout=50s")
    assert joined.mounts() == {}


def _ended(pod: Object) -> bool:
    return all("terminated" in each["state"] for each in pod["status"]["containerStatuses"])


@pytest.mark.parametrize(("model", "about"), [("tinny", "tinny"), ("theirs", "namespace")])
def test_events_of_a_pod_say_why_it_does_not_start(joined: Cluster, model: str, about: str) -> None:
    pod = joined.serving(_described(), model, _FOREVER)
    joined.start(pod, model)
    joined.until(lambda: about in _failed_mounts(joined, model), lambda: joined.events(model))
    joined.delete(model)


def _failed_mounts(joined: Cluster, pod: str) -> str:
    return "\n".join(line for line in joined.events(pod).splitlines() if line.startswith("FailedMount"))


def test_a_model_that_comes_into_the_catalog_later_starts_the_pod_that_waits_for_it(joined: Cluster) -> None:
    joined.start(joined.serving(_described(), "later", _FOREVER), "later")
    joined.until(lambda: "later" in _failed_mounts(joined, "later"))
    joined.offer({"tiny": {"warm_at_start": True}, "theirs": {"namespaces": ["elsewhere"]}, "later": {}})
    joined.until_ready("later", seconds=240)  # kubelet's own period of ConfigMaps, and its back-off
    joined.delete("later")


def test_a_client_in_a_pod_finds_the_path_where_the_model_appears(joined: Cluster) -> None:
    """By the example with the socket: what the daemon mounts later reaches a pod that runs already."""
    command = [
        "cachectl",
        "exec",
        "tiny",
        "--",
        "sh",
        "-c",
        "busybox wc -c < {}/model.safetensors; sleep 3600",
    ]
    pod = joined.serving(_described("vllm-client.yaml"), "tiny", command)
    joined.lend(pod)
    [container] = pod["spec"]["containers"]
    container["env"].append({"name": "PATH", "value": f"{joined.programs}:/usr/bin:/bin"})
    joined.start(pod, "client")
    joined.until_ready("client")
    joined.until(lambda: joined.logs("client").strip() == str(len(MODEL)), lambda: joined.logs("client"))
    assert _leases(joined) == 1
    joined.delete("client")
    joined.until(lambda: _leases(joined) == 0)
