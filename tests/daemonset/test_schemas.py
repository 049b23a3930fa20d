"""Every object is what the API server takes, and every name in it is the name of something."""

from __future__ import annotations

import copy
from itertools import chain

import jsonschema
import pytest

from tests.daemonset.built import COMPONENTS, INSTALLS, Object, chart, composed, examples, install, only, pods
from tests.daemonset.schemas import VERSIONS, validate

FULL = {
    name: {"enabled": True}
    for name in ("csi", "peers", "certManager", "gate", "monitoring", "mirror", "runtime")
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("where", INSTALLS)
def test_installs_are_valid(where: str, version: str) -> None:
    for each in install(where):
        validate(each, version)


@pytest.mark.parametrize("component", COMPONENTS)
def test_each_component_is_valid_by_itself(component: str) -> None:
    for each in composed(component):
        validate(each, VERSIONS[-1])


def test_the_chart_is_valid() -> None:
    for each in chart(FULL):
        validate(each, VERSIONS[-1])


@pytest.mark.parametrize("name", examples())
def test_examples_are_valid(name: str) -> None:
    for each in examples()[name]:
        validate(each, VERSIONS[-1])


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        ("DaemonSet", "maxSurge"),
        ("CSIDriver", "podInfo"),
        ("Certificate", "dnsName"),
        ("PodMonitor", "ports"),
    ],
)
def test_a_field_that_does_not_exist_is_noticed(kind: str, field: str) -> None:
    [thing] = [
        each
        for each in install("examples/cluster")
        if each["kind"] == kind and "ca" not in each["metadata"]["name"][-2:]
    ]
    thing["spec"][field] = "1"
    with pytest.raises(jsonschema.ValidationError, match=field):
        validate(thing, VERSIONS[-1])


@pytest.mark.parametrize("where", INSTALLS)
def test_an_install_names_each_object_once(where: str) -> None:
    names = [(e["kind"], e["metadata"].get("namespace"), e["metadata"]["name"]) for e in install(where)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("objects", [*map(install, INSTALLS), chart(FULL)], ids=[*INSTALLS, "chart"])
def test_everything_lies_in_one_namespace(objects: list[Object]) -> None:
    """Also what components add, and whom bindings mean."""
    spaces = {each["metadata"]["namespace"] for each in objects if "namespace" in each["metadata"]}
    spaces |= {subject["namespace"] for each in objects for subject in each.get("subjects", ())}
    spaces |= {each["metadata"]["name"] for each in objects if each["kind"] == "Namespace"}
    # A chart leaves it to Helm where namespaced objects go.
    assert len(spaces) == 1


@pytest.mark.parametrize("where", INSTALLS)
def test_pods_mount_what_they_declare(where: str) -> None:
    for pod in chain(pods(install(where)), *(pods(each) for each in examples().values())):
        spec = copy.deepcopy(pod["spec"])
        volumes = {each["name"] for each in spec["volumes"]}
        containers = spec["containers"] + spec.get("initContainers", [])
        mounted = {mount["name"] for each in containers for mount in each["volumeMounts"]}
        assert mounted == volumes
        for each in containers:
            paths = [mount["mountPath"] for mount in each["volumeMounts"]]
            assert len(paths) == len(set(paths))


@pytest.mark.parametrize("where", INSTALLS)
def test_named_ports_and_volumes_exist(where: str) -> None:
    objects = install(where)
    spec = only(objects, "DaemonSet")["spec"]["template"]["spec"]
    [container] = spec["containers"]
    ports = {port["name"] for port in container["ports"]}
    named = {
        container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    for each in objects:
        if each["kind"] == "Service":
            named |= {port["targetPort"] for port in each["spec"]["ports"]}
        if each["kind"] == "NetworkPolicy":
            rules = each["spec"].get("ingress", []) + each["spec"].get("egress", [])
            named |= {
                port["port"] for rule in rules for port in rule["ports"] if isinstance(port["port"], str)
            }
        if each["kind"] == "PodMonitor":
            named |= {endpoint["port"] for endpoint in each["spec"]["podMetricsEndpoints"]}
    assert named <= ports
    maps = {each["metadata"]["name"] for each in objects if each["kind"] == "ConfigMap"}
    assert {v["configMap"]["name"] for v in spec["volumes"] if "configMap" in v} - maps == {"cached-catalog"}
