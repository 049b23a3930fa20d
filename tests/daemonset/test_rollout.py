"""How the DaemonSet lives beside kubelet, schedulers and other pods."""

from __future__ import annotations

import pytest

from tests.daemonset.built import INSTALLS, daemon, install, only


@pytest.mark.parametrize("where", INSTALLS)
def test_one_node_at_a_time_and_one_daemon_a_node(where: str) -> None:
    spec = only(install(where), "DaemonSet")["spec"]
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert spec["template"]["spec"]["priorityClassName"] == "system-node-critical"
    assert spec["template"]["spec"]["enableServiceLinks"] is False


@pytest.mark.parametrize("where", INSTALLS)
def test_probes(where: str) -> None:
    """A restart for a process that hangs, none for a source or a disk; ready means serving."""
    container = daemon(install(where))
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    startup = container["startupProbe"]
    assert startup["httpGet"]["path"] == "/healthz"
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 300


@pytest.mark.parametrize("where", INSTALLS)
def test_tolerations_are_named(where: str) -> None:
    """None that tolerates everything: a node that is being emptied stays empty."""
    tolerations = only(install(where), "DaemonSet")["spec"]["template"]["spec"]["tolerations"]
    keys = [each["key"] for each in tolerations]
    assert len(keys) == len(set(keys))
    assert {"nvidia.com/gpu", "node.gardener.cloud/critical-components-not-ready"} <= set(keys)
    assert all(each["operator"] == "Exists" for each in tolerations)


@pytest.mark.parametrize("where", [each for each in INSTALLS if each != "overlays/lab"])
def test_only_nodes_with_gpus_or_labelled_for_it(where: str) -> None:
    spec = only(install(where), "DaemonSet")["spec"]["template"]["spec"]
    needed = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    terms = needed["nodeSelectorTerms"]
    assert all(len(term["matchExpressions"]) == 1 for term in terms), "any of them is enough"
    assert "nvidia.com/gpu.present" in [term["matchExpressions"][0]["key"] for term in terms]


def test_a_lab_takes_every_node() -> None:
    assert not only(install("overlays/lab"), "DaemonSet")["spec"]["template"]["spec"].get("affinity")


def test_in_gardener_it_is_a_critical_component() -> None:
    objects = install("overlays/gardener")
    daemonset = only(objects, "DaemonSet")
    template = daemonset["spec"]["template"]
    for each in (daemonset, template):
        assert each["metadata"]["labels"]["node.gardener.cloud/critical-component"] == "true"
    assert daemonset["metadata"]["namespace"] == "kube-system"
    assert not [each for each in objects if each["kind"] == "Namespace"], "it is Gardener's"


def test_gke_lets_critical_pods_in() -> None:
    quota = only(install("overlays/gke"), "ResourceQuota")["spec"]
    [scope] = quota["scopeSelector"]["matchExpressions"]
    assert scope["values"] == ["system-node-critical"]


def test_strangers_are_kept_out() -> None:
    """Peers from peers, metrics from monitoring, the mirror from nobody but the node, which needs no rule."""
    objects = install("examples/cluster")
    policies = [each["spec"] for each in objects if each["kind"] == "NetworkPolicy"]
    labels = only(objects, "DaemonSet")["spec"]["template"]["metadata"]["labels"]
    let_in: dict[object, object] = {}
    for spec in policies:
        assert spec["podSelector"]["matchLabels"].items() <= labels.items()
        for rule in spec.get("ingress", ()):
            assert rule["from"], "from anywhere"
            let_in |= {port["port"]: rule["from"] for port in rule["ports"]}
    assert let_in.keys() == {"metrics", "peer", "data"}
    assert (
        let_in["peer"]
        == let_in["data"]
        == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "cached"}}}]
    )
    [mirror] = [port for port in daemon(objects)["ports"] if port["name"] == "mirror"]
    assert mirror["hostIP"] == "127.0.0.1"


def test_a_driver_that_kubelet_asks_for_nothing_else() -> None:
    spec = only(install(""), "CSIDriver")["spec"]
    assert spec == {
        "volumeLifecycleModes": ["Ephemeral"],
        "attachRequired": False,
        "podInfoOnMount": True,
        "fsGroupPolicy": "None",
        "requiresRepublish": False,
        "seLinuxMount": False,
        "storageCapacity": False,
    }
