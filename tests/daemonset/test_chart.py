"""The Helm chart and the kustomizations describe the same objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import HelmError, lint

from cached import __version__
from tests.daemonset.built import HERE, Object, chart, composed, install, settings_of

Key = tuple[str, str]


def _on(*names: str) -> dict[str, Any]:
    return {name: {"enabled": True} for name in names}


def _comparable(objects: Sequence[Object], directory: Path) -> dict[Key, Object]:
    """Objects by kind and name, with what differs between the two by their nature taken away.

    Helm makes no namespace that it is installed into. Kustomize rolls the DaemonSet by the name of the
    settings' ConfigMap, Helm by an annotation. Settings are compared as the daemon would have them, be it
    from its file or from its variables. Lists with a name as their key have no order.
    """
    found = {
        (each["kind"], each["metadata"]["name"]): each for each in objects if each["kind"] != "Namespace"
    }
    settings = settings_of(objects, directory).model_dump(mode="json")
    for key, each in list(found.items()):
        metadata = each["metadata"]
        metadata.pop("namespace", None)
        metadata.get("labels", {}).pop("app.kubernetes.io/part-of", None)
        metadata["labels"] = metadata.get("labels") or {}
        if each["kind"] == "ConfigMap":
            del found[key]
            metadata["name"] = "cached-settings"
            each["data"] = settings
            found["ConfigMap", "cached-settings"] = each
        if each["kind"] == "DaemonSet":
            _unify(each["spec"]["template"])
    return found


def _unify(template: Object) -> None:
    template["metadata"]["annotations"].pop("checksum/settings", None)
    spec = template["spec"]
    spec["initContainers"] = spec.get("initContainers", [])
    for container in spec["containers"] + spec["initContainers"]:
        named = [e for e in container.get("env", ()) if not e["name"].startswith("CACHED__")]
        container["env"] = sorted(named, key=lambda e: str(e["name"]))
        container["volumeMounts"].sort(key=lambda mount: str(mount["mountPath"]))
        container.get("ports", []).sort(key=lambda port: int(port["containerPort"]))
    spec["volumes"].sort(key=lambda volume: str(volume["name"]))
    for volume in spec["volumes"]:
        if volume["name"] == "settings":
            volume["configMap"]["name"] = "cached-settings"


def _same(ours: Sequence[Object], charts: Sequence[Object], directory: Path) -> None:
    expected, found = _comparable(ours, directory), _comparable(charts, directory)
    assert found.keys() == expected.keys()
    for key, each in expected.items():
        assert found[key] == each, key


def test_with_default_values_it_is_the_base(tmp_path: Path) -> None:
    _same(install("base"), chart(), tmp_path)


def test_with_volumes_it_is_the_usual_install(tmp_path: Path) -> None:
    _same(install(""), chart(_on("csi")), tmp_path)


@pytest.mark.parametrize(
    ("component", "values"),
    [
        ("mounts", _on("mounts")),
        ("csi", _on("csi")),
        ("peers", _on("peers")),
        ("cert-manager", _on("certManager")),
        ("gate", _on("gate")),
        ("monitoring", _on("monitoring")),
        ("mirror", _on("mirror")),
        ("mirror-host", {"mirror": {"enabled": True, "hostNetwork": True}}),
        ("runtime", _on("runtime")),
    ],
)
def test_each_switch_is_a_component(component: str, values: Mapping[str, Any], tmp_path: Path) -> None:
    _same(composed(component), chart(values), tmp_path)


def test_every_component_has_a_switch() -> None:
    [mark] = [m for m in test_each_switch_is_a_component.pytestmark if m.name == "parametrize"]
    assert {case[0] for case in mark.args[1]} == {each.name for each in (HERE / "components").iterdir()}


def test_the_example_of_a_cluster_is_the_same_in_both(tmp_path: Path) -> None:
    values = yaml.safe_load((HERE / "examples" / "cluster" / "values.yaml").read_text())
    _same(install("examples/cluster"), chart(values), tmp_path)


@pytest.mark.parametrize("name", ["eks", "gardener", "gke"])
def test_platforms_are_values_too(name: str, tmp_path: Path) -> None:
    values = yaml.safe_load((HERE / "chart" / f"values-{name}.yaml").read_text())
    quota = [each for each in install(f"overlays/{name}") if each["kind"] == "ResourceQuota"]
    ours = [each for each in install(f"overlays/{name}") if each not in quota]
    space = next(each["metadata"]["namespace"] for each in ours if each["kind"] == "DaemonSet")
    _same(ours, chart(values, space), tmp_path)


@pytest.mark.parametrize(("connections", "spare", "memory"), [(16, 8, 384), (64, 32, 960), (1, 0, 192)])
def test_memory_follows_from_the_buffers(connections: int, spare: int, memory: int) -> None:
    transfer = {"connections": connections, "spare_buffers": spare}
    [daemonset] = [e for e in chart({"settings": {"transfer": transfer}}) if e["kind"] == "DaemonSet"]
    resources = daemonset["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"]["memory"] == f"{memory}Mi"
    assert resources["limits"]["memory"] == f"{2 * memory}Mi"


def test_another_kubelet_directory(tmp_path: Path) -> None:
    objects = chart({**_on("csi"), "kubeletDirectory": "/data/kubelet"})
    settings = settings_of(objects, tmp_path)
    assert str(settings.csi.socket_path) == "/data/kubelet/plugins/csi.cached.dev/csi.sock"
    [daemonset] = [each for each in objects if each["kind"] == "DaemonSet"]
    assert "/var/lib/kubelet" not in yaml.safe_dump(daemonset)


def test_lint_finds_nothing() -> None:
    found = lint(HERE / "chart", strict=True, quiet=True)
    assert [m for m in found.get("messages", ()) if "icon" not in str(m)] == [], found


def test_it_is_of_this_version() -> None:
    described = yaml.safe_load((HERE / "chart" / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == __version__
    base = yaml.safe_load((HERE / "base" / "kustomization.yaml").read_text())
    assert base["images"] == [{"name": "cached", "newTag": __version__}]


def test_an_unknown_switch_is_refused() -> None:
    with pytest.raises(HelmError, match="cis"):
        chart(_on("cis"))
