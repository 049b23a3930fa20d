"""What the daemon may do to nodes: what its role grants, less what the admission policy refuses."""

from __future__ import annotations

import copy
import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.daemonset.built import HERE, install, only, settings_of
from tests.daemonset.fence import Fence
from tests.daemonset.schemas import VERSIONS

_CLAIM = "authentication.kubernetes.io/node-name"
_OURS = "cached.dev/not-ready"
_NODE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "node-1",
        "labels": {"topology.kubernetes.io/zone": "a", "model.cached.dev/old": "warm"},
        "annotations": {"a": "b"},
    },
    "spec": {
        "podCIDR": "10.0.0.0/24",
        "taints": [{"key": _OURS, "effect": "NoSchedule"}, {"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
    },
    "status": {
        "capacity": {"nvidia.com/gpu": "8"},
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "cached.dev/Warm", "status": "False"}],
    },
}


@cache
def _fence() -> Fence:
    return Fence(only(install("examples/cluster"), "ValidatingAdmissionPolicy"))


def _request(subresource: str = "", **changed: Any) -> dict[str, Any]:
    user = {
        "username": "system:serviceaccount:cached-system:cached",
        "groups": ["system:serviceaccounts"],
        "extra": {_CLAIM: ["node-1"]},
    }
    request = {"operation": "UPDATE", "name": "node-1", "subResource": subresource, "userInfo": user}
    return request | changed


def _changed(path: str, value: Any) -> dict[str, Any]:
    """The node with something else at `path`, steps apart by a slash that names may not have."""
    node = copy.deepcopy(_NODE)
    *above, last = path.split(" ")
    place: Any = node
    for part in above:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return node


def _without(key: str) -> list[dict[str, str]]:
    return [taint for taint in _NODE["spec"]["taints"] if taint["key"] != key]


_CONDITIONS = _NODE["status"]["conditions"]
_WARM = {"type": "cached.dev/Warm", "status": "True"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec taints", _without(_OURS)),
        ("metadata labels", _NODE["metadata"]["labels"] | {"model.cached.dev/new": "warm"}),
        ("metadata labels model.cached.dev/old", None),
        ("metadata labels model.cached.dev/old", "gone"),
        ("status conditions", [_CONDITIONS[0], _WARM]),
        (
            "status conditions",
            [_CONDITIONS[0], _CONDITIONS[1], {"type": "cached.dev/Other", "status": "True"}],
        ),
    ],
)
def test_what_is_its_own_it_may_change(path: str, value: Any) -> None:
    for subresource in ("", "status"):
        assert _fence().refusals(_request(subresource), _NODE, _changed(path, value)) == []


@pytest.mark.parametrize(
    ("path", "value", "about"),
    [
        ("spec taints", _without("nvidia.com/gpu"), "startup taints"),
        ("spec taints", None, "startup taints"),
        ("spec taints", [*_NODE["spec"]["taints"], {"key": _OURS, "effect": "NoExecute"}], "startup taints"),
        ("metadata labels topology.kubernetes.io/zone", "b", "labels"),
        ("metadata labels topology.kubernetes.io/zone", None, "labels"),
        ("metadata labels", {**_NODE["metadata"]["labels"], "node-role.kubernetes.io/x": ""}, "labels"),
        ("metadata labels", {**_NODE["metadata"]["labels"], "cached.dev/node": "true"}, "labels"),
        ("metadata labels", None, "labels"),
        ("metadata annotations", {}, "nothing of its node"),
        ("metadata finalizers", ["a/b"], "nothing of its node"),
        ("metadata ownerReferences", [{"name": "x"}], "nothing of its node"),
        ("spec unschedulable", True, "nothing of its node"),
        ("spec podCIDR", "10.0.1.0/24", "nothing of its node"),
        ("spec providerID", "aws:///x", "nothing of its node"),
        ("status capacity", {"nvidia.com/gpu": "16"}, "nothing of its node"),
        ("status addresses", [{"type": "InternalIP", "address": "10.0.0.9"}], "nothing of its node"),
        ("status conditions", [{"type": "Ready", "status": "False"}, _CONDITIONS[1]], "conditions"),
        ("status conditions", [_CONDITIONS[1]], "conditions"),
        ("status conditions", [*_CONDITIONS, {"type": "DiskPressure", "status": "True"}], "conditions"),
    ],
)
def test_what_is_not_its_own_it_may_not(path: str, value: Any, about: str) -> None:
    for subresource in ("", "status"):
        refusals = _fence().refusals(_request(subresource), _NODE, _changed(path, value))
        assert refusals is not None
        assert len(refusals) == 1
        assert about in refusals[0]


@pytest.mark.parametrize(
    "extra",
    [{_CLAIM: ["node-2"]}, {}, {_CLAIM: []}, {_CLAIM: ["node-1", "node-2"]}, {"node-name": ["node-1"]}],
)
def test_another_node_is_not_its_own(extra: dict[str, list[str]]) -> None:
    request = _request()
    request["userInfo"]["extra"] = extra
    refusals = _fence().refusals(request, _NODE, _changed("spec taints", _without(_OURS)))
    assert refusals == ["a daemon may change no node but the one that it runs on"]


@pytest.mark.parametrize(
    "changed",
    [{"operation": "CREATE"}, {"operation": "DELETE"}, {"operation": "CONNECT", "subResource": "proxy"}],
)
def test_nodes_are_only_changed(changed: dict[str, str]) -> None:
    new = None if changed["operation"] == "DELETE" else _NODE
    old = None if changed["operation"] == "CREATE" else _NODE
    refusals = _fence().refusals(_request(**changed), old, new)
    assert refusals
    assert "neither makes nor removes" in refusals[0]


@pytest.mark.parametrize(
    ("username", "meant"),
    [
        ("system:serviceaccount:cached-system:cached", True),
        ("system:serviceaccount:kube-system:cached", True),
        ("system:serviceaccount:cached-system:other", False),
        ("system:serviceaccount:a:b:cached", False),
        ("system:node:cached", False),
        ("kubernetes-admin", False),
    ],
)
def test_whom_it_fences(username: str, meant: bool) -> None:
    request = _request()
    request["userInfo"]["username"] = username
    refusals = _fence().refusals(request, _NODE, _changed("spec unschedulable", True))
    assert (refusals is not None) is meant


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("kind", "own"),
    [("nodespec", {"taints"}), ("nodestatus", {"conditions"})],
)
def test_every_field_of_a_node_is_thought_of(kind: str, own: set[str], version: str) -> None:
    """What a later version adds must be fenced, too."""
    place = files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    schema = json.loads((place / f"{kind}-v1.json").read_text())
    policy = only(install("examples/cluster"), "ValidatingAdmissionPolicy")
    last = policy["spec"]["validations"][-1]["expression"]
    assert {name for name in schema["properties"] if f"'{name}'" not in last} == own


def test_its_binding_denies() -> None:
    objects = install("examples/cluster")
    binding = only(objects, "ValidatingAdmissionPolicyBinding")["spec"]
    policy = only(objects, "ValidatingAdmissionPolicy")
    assert binding == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}
    rules = policy["spec"]["matchConstraints"]["resourceRules"]
    granted = {r for rule in only(objects, "ClusterRole")["rules"] for r in rule["resources"]}
    assert granted <= {"nodes", "nodes/status"}
    assert [rule["resources"] for rule in rules] == [["nodes", "nodes/*"]]


def test_its_own_taints_do_not_keep_it_away() -> None:
    objects = install("examples/cluster")
    policy = only(objects, "ValidatingAdmissionPolicy")
    [taints] = [v["expression"] for v in policy["spec"]["variables"] if v["name"] == "taints"]
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    tolerated = {each["key"] for each in spec["tolerations"]}
    assert set(yaml.safe_load(taints)) <= tolerated


def test_it_knows_its_node_and_asks_for_nothing_that_the_fence_refuses(tmp_path: Path) -> None:
    objects = install("examples/cluster")
    gate = settings_of(objects, tmp_path).gate
    assert gate.node == "node-1"
    policy = only(objects, "ValidatingAdmissionPolicy")["spec"]
    values = {each["name"]: yaml.safe_load(each["expression"]) for each in policy["variables"][:3]}
    assert gate.taint in values["taints"]
    assert gate.labels.prefix == values["labelPrefix"]
    assert (gate.condition or "cached.dev/Ready").startswith(values["conditionPrefix"])


def test_without_the_component_there_is_no_gate(tmp_path: Path) -> None:
    assert settings_of(install(""), tmp_path).gate.node is None


def _verbs() -> set[tuple[str, str, str, str]]:
    """Every right that some component grants: where, group and resource, verbs."""
    found = set()
    for path in (HERE / "components").glob("*/*role*.yaml"):
        for each in yaml.safe_load_all(Path(path).read_text()):
            for rule in each.get("rules", ()):
                group = rule["apiGroups"][0] or "core"
                for resource in rule["resources"]:
                    kind = "its namespace" if each["kind"] == "Role" else "cluster"
                    found.add((path.parent.name, kind, f"{group}/{resource}", ", ".join(rule["verbs"])))
    return found


def test_the_docs_list_every_right() -> None:
    text = (HERE.parent / "docs" / "kubernetes.md").read_text()
    section = text[text.index("## Rights at the API server") :]
    section = section[: section.index("\n## ", 1)]
    rows = [line.strip("| ").split("|") for line in section.splitlines() if line.startswith("| `")]
    listed = {tuple(cell.strip().replace("`", "") for cell in row[:4]) for row in rows}
    assert listed == _verbs()
    assert "*" not in "".join(verbs for *_, verbs in _verbs())
