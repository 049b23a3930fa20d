"""The objects that an operator would apply, built by kubectl and by Helm without any cluster."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

from cached.config import settings
from cached.config.settings import Settings

HERE = Path(__file__).parents[2] / "daemonset"
COMPONENTS = sorted(each.name for each in (HERE / "components").iterdir())
OVERLAYS = sorted(each.name for each in (HERE / "overlays").iterdir())
INSTALLS = ("", "base", *(f"overlays/{name}" for name in OVERLAYS), "examples/cluster")
"""What stands by itself, by path below daemonset/."""

Object = dict[str, Any]


def _load_all(text: str) -> list[Object]:
    return [each for each in yaml.load_all(text, yaml.CSafeLoader) if each]


@cache
def kustomized(where: str) -> str:
    """The YAML of an install."""
    kubectl = Path(sysconfig.get_path("scripts")) / "kubectl"
    done = subprocess.run([kubectl, "kustomize", HERE / where], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return done.stdout


def install(where: str) -> list[Object]:
    """The objects of an install."""
    return _load_all(kustomized(where))


@cache
def _composed(components: tuple[str, ...]) -> str:
    with tempfile.TemporaryDirectory() as directory:
        place = os.path.relpath(HERE, os.path.realpath(directory))
        text = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{place}/base"],
            "components": [f"{place}/components/{name}" for name in components],
        }
        Path(directory, "kustomization.yaml").write_text(yaml.safe_dump(text))
        return kustomized(directory)


def composed(*components: str) -> list[Object]:
    """The objects of the base with these components."""
    return _load_all(_composed(components))


@cache
def _rendered(values: str, namespace: str) -> str:
    with Chart.load(HERE / "chart") as chart:
        files = chart.render(json.loads(values), name="cached", namespace=namespace)
    return "\n---\n".join(files.values())


def chart(values: Mapping[str, Any] | None = None, namespace: str = "cached-system") -> list[Object]:
    """The objects of the chart with these values."""
    return _load_all(_rendered(json.dumps(values or {}), namespace))


def examples() -> dict[str, list[Object]]:
    """The objects of each file in examples/, by its name."""
    return {path.name: _load_all(path.read_text()) for path in sorted((HERE / "examples").glob("*.yaml"))}


def only(objects: Sequence[Object], kind: str) -> Object:
    """The one object of its kind."""
    [found] = (each for each in objects if each["kind"] == kind)
    return found


def pods(objects: Sequence[Object]) -> Iterator[Object]:
    """The pod that each workload describes: its metadata and its spec."""
    for each in objects:
        if each["kind"] == "Pod":
            yield each
        elif "template" in each.get("spec", {}):
            yield each["spec"]["template"]


def daemon(objects: Sequence[Object]) -> Object:
    """The daemon's container."""
    [container] = only(objects, "DaemonSet")["spec"]["template"]["spec"]["containers"]
    return dict(container)


DOWNWARD = {
    "status.podIP": "10.1.2.3",
    "metadata.namespace": "cached-system",
    "spec.nodeName": "node-1",
    "metadata.labels['topology.kubernetes.io/zone']": "zone-a",
}


def environment(container: Object) -> dict[str, str]:
    """The container's variables, as kubelet makes them: a reference counts what stands before it."""
    made: dict[str, str] = {}
    for each in container.get("env", ()):
        value = each.get("value", "") or DOWNWARD.get(
            each.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath"), ""
        )
        for name, known in made.items():
            value = value.replace(f"$({name})", known)
        assert "$(" not in value, f"{each['name']} refers to what does not stand before it"
        made[each["name"]] = value
    return made


def settings_of(objects: Sequence[Object], directory: Path) -> Settings:
    """The settings that the daemon would have, of its file and its variables."""
    file = directory / "cached.yaml"
    file.write_text(only(objects, "ConfigMap")["data"]["cached.yaml"])
    return settings.load(file, environment(daemon(objects)))
