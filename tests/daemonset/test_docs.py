"""docs/kubernetes.md says what there is."""

from __future__ import annotations

import re

from tests.daemonset.built import COMPONENTS, HERE, OVERLAYS, daemon, examples, install, only, pods
from tests.daemonset.pod_security import level

_PLACE = HERE.parent / "docs"
_TEXT = (_PLACE / "kubernetes.md").read_text()


def _rows(first: str) -> list[list[str]]:
    """The table whose heading begins with `first`."""
    lines = _TEXT[_TEXT.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [[cell.strip().strip("`") for cell in line.strip("| ").split(" | ")] for line in lines[2:]]


def test_every_overlay_and_component_is_told() -> None:
    assert sorted(row[0] for row in _rows("component | adds | costs")) == COMPONENTS
    told = {row[0] for row in _rows("apply | is")}
    assert told == {"daemonset/", "daemonset/base", *(f"daemonset/overlays/{name}" for name in OVERLAYS)}


def test_every_example_is_told_with_its_level() -> None:
    told = {row[0]: row[2] for row in _rows("example | way | Pod Security")}
    found = {name: level(pod) for name, objects in examples().items() for pod in pods(objects)}
    assert told == found


def test_links_lead_somewhere() -> None:
    written_elsewhere = {"gardener.md"}
    for target in re.findall(r"\]\(([^)#]+)", _TEXT):
        assert target in written_elsewhere or (_PLACE / target).exists(), target


def test_labels_that_choose_nodes_are_told() -> None:
    spec = only(install("base"), "DaemonSet")["spec"]["template"]["spec"]
    needed = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    for term in needed["nodeSelectorTerms"]:
        [choice] = term["matchExpressions"]
        value = f"={choice['values'][0]}" if "values" in choice else ""
        assert f"`{choice['key']}{value}`" in _TEXT


def test_what_the_fence_lets_through_is_told() -> None:
    policy = only(install("examples/cluster"), "ValidatingAdmissionPolicy")["spec"]
    values = {each["name"]: each["expression"] for each in policy["variables"]}
    for name in ("taints", "labelPrefix", "conditionPrefix"):
        for word in re.findall(r"'([^']+)'", values[name]):
            assert f"`{word}`" in _TEXT


def test_numbers_are_those_of_the_manifests() -> None:
    container = daemon(install("base"))
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 600
    assert "ten minutes" in _TEXT
