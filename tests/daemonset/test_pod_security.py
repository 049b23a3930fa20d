"""Which level of the Pod Security Standards admits what, and that no pod has more than it needs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests.daemonset.built import COMPONENTS, HERE, INSTALLS, composed, daemon, examples, install, only, pods
from tests.daemonset.pod_security import Level, level

_DOCS = HERE.parent / "docs" / "kubernetes.md"
_LEVELS: dict[str, Level] = {
    "nim-volume.yaml": "restricted",
    "sglang-volume.yaml": "restricted",
    "triton-volume.yaml": "restricted",
    "vllm-volume.yaml": "restricted",
    "sglang-sidecar.yaml": "privileged",
    "vllm-client.yaml": "privileged",
}


@pytest.mark.parametrize(("name", "expected"), _LEVELS.items())
def test_levels_of_serving_pods(name: str, expected: Level) -> None:
    [pod] = pods(examples()[name])
    assert level(pod) == expected
    text = (HERE / "examples" / name).read_text().replace("\n# ", " ")
    assert f"Pod Security: {expected}" in text


def test_every_example_has_a_level() -> None:
    assert _LEVELS.keys() == examples().keys() - {"catalog.yaml"}


@pytest.mark.parametrize("name", _LEVELS)
def test_without_directories_of_the_host_every_example_is_restricted(name: str) -> None:
    [pod] = pods(copy.deepcopy(examples()[name]))
    pod["spec"]["volumes"] = [each for each in pod["spec"]["volumes"] if "hostPath" not in each]
    assert level(pod) == "restricted"


@pytest.mark.parametrize("where", INSTALLS)
def test_the_daemon_is_admitted_where_it_is_put(where: str) -> None:
    objects = install(where)
    [pod] = pods(objects)
    assert level(pod) == "privileged", "for the sake of hostPath alone"
    for each in objects:
        if each["kind"] == "Namespace":
            assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"


def test_but_for_its_directories_the_smallest_daemon_is_restricted() -> None:
    """And but for the init container that makes them its own."""
    [pod] = pods(install("base"))
    pod["spec"]["volumes"] = [each for each in pod["spec"]["volumes"] if "hostPath" not in each]
    [owner] = pod["spec"]["initContainers"]
    assert owner["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["CHOWN", "DAC_READ_SEARCH"]}
    del pod["spec"]["initContainers"]
    assert level(pod) == "restricted"


@pytest.mark.parametrize("component", COMPONENTS)
def test_only_who_mounts_is_privileged(component: str) -> None:
    objects = composed(component)
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    context = daemon(objects)["securityContext"]
    mounts = component in ("mounts", "csi")
    assert context.get("privileged", False) is mounts
    assert (spec["securityContext"]["runAsUser"] == 0) is mounts
    assert bool(spec.get("hostNetwork")) is (component == "mirror-host")
    if not mounts:
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


@pytest.mark.parametrize("component", COMPONENTS)
def test_only_who_asks_the_api_server_has_a_token(component: str) -> None:
    objects = composed(component)
    asks = component in ("peers", "gate")
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is asks
    assert only(objects, "ServiceAccount")["automountServiceAccountToken"] is asks
    assert any(each["kind"] in ("RoleBinding", "ClusterRoleBinding") for each in objects) is asks


_POD: dict[str, Any] = {
    "metadata": {},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
        ],
    },
}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("spec.volumes", [{"name": "v", "csi": {}}], "restricted"),
        ("spec.volumes", [{"name": "v", "nfs": {}}], "baseline"),
        ("spec.volumes", [{"name": "v", "hostPath": {}}], "privileged"),
        ("spec.hostNetwork", True, "privileged"),
        ("spec.hostPID", True, "privileged"),
        ("spec.securityContext.runAsNonRoot", False, "baseline"),
        ("spec.securityContext.runAsUser", 0, "baseline"),
        ("spec.securityContext.seccompProfile", None, "baseline"),
        ("spec.securityContext.seccompProfile.type", "Unconfined", "privileged"),
        ("spec.securityContext.sysctls", [{"name": "net.ipv4.tcp_rmem"}], "restricted"),
        ("spec.securityContext.sysctls", [{"name": "kernel.msgmax"}], "privileged"),
        ("spec.containers.0.ports", [{"containerPort": 1, "hostPort": 1}], "privileged"),
        ("spec.containers.0.securityContext", {}, "baseline"),
        ("spec.containers.0.securityContext.privileged", True, "privileged"),
        ("spec.containers.0.securityContext.allowPrivilegeEscalation", True, "baseline"),
        ("spec.containers.0.securityContext.capabilities.add", ["NET_BIND_SERVICE"], "restricted"),
        ("spec.containers.0.securityContext.capabilities.add", ["CHOWN"], "baseline"),
        ("spec.containers.0.securityContext.capabilities.add", ["SYS_ADMIN"], "privileged"),
        ("spec.containers.0.securityContext.seLinuxOptions", {"type": "spc_t"}, "privileged"),
        ("spec.initContainers", [{"name": "i"}], "baseline"),
        ("spec.containers.0.livenessProbe", {"httpGet": {"host": "10.0.0.1"}}, "privileged"),
    ],
)
def test_the_rules(path: str, value: object, expected: Level) -> None:
    pod = copy.deepcopy(_POD)
    assert level(pod) == "restricted"
    *above, last = path.split(".")
    place: Any = pod
    for part in above:
        place = place[int(part)] if part.isdigit() else place[part]
    place[last] = value
    assert level(pod) == expected
