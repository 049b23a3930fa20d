"""Whether kubelet finds the CSI plugin, and treats it as it must be. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cached.cli.finding import Finding

_APPLY: Final = "apply daemonset/components/csi (or the chart with csi.enabled)"
# What pods' volumes need of the object, and what goes wrong without.
_NEEDED: Final = {
    "attachRequired": (False, "volumes wait for an attachment that nobody makes"),
    "podInfoOnMount": (True, "the catalog's namespaces cannot be checked, and no volume is published"),
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """name: what it calls itself, at its socket; registered: at the one where kubelet looks for plugins, with
    the endpoint that it names there. fault, hidden: why the one and the other do not answer; empty when they
    do. refusal: what kubelet had against it.
    """

    driver: str
    socket: Path
    registration: Path
    name: str
    ready: bool
    fault: str
    registered: str
    endpoint: str
    hidden: str
    refusal: str


def of_plugin(plugin: Plugin) -> Iterator[Finding]:
    """At least one finding."""
    start = "start the daemon, or see its log; csi.socket and csi.kubelet_root say where it serves"
    if plugin.fault:
        yield Finding("problem", plugin.driver, f"kubelet cannot ask the plugin: {plugin.fault}", start)
    elif plugin.name != plugin.driver:
        yield Finding(
            "problem",
            plugin.driver,
            f"who answers at {plugin.socket} calls itself {plugin.name}",
            "another plugin has taken the socket: give csi.socket a path of its own",
        )
    elif not plugin.ready:
        yield Finding(
            "warning",
            plugin.driver,
            "the plugin is not ready: it reconciles volumes, or waits for the store",
            "wait; if it stays so, see the daemon's log",
        )
    if plugin.hidden:
        yield Finding("problem", plugin.driver, f"kubelet does not find the plugin: {plugin.hidden}", start)
    elif (plugin.registered, plugin.endpoint) != (plugin.driver, str(plugin.socket)):
        yield Finding(
            "problem",
            plugin.driver,
            f"{plugin.registration} presents {plugin.registered} at {plugin.endpoint}, not {plugin.driver}"
            f" at {plugin.socket}",
            "restart the daemon: another one, or another version, has left it there",
        )
    elif plugin.refusal:
        yield Finding(
            "problem",
            plugin.driver,
            f"kubelet refuses the plugin: {plugin.refusal}",
            "see kubelet's log for it (journalctl -u kubelet); restart the daemon to have it tried again",
        )
    elif not plugin.fault and plugin.ready and plugin.name == plugin.driver:
        yield Finding(
            "ok", plugin.driver, f"the plugin is ready at {plugin.socket}, and presented to kubelet"
        )


def of_object(driver: str, status: int, found: Mapping[str, Any]) -> Finding:
    """What the API server says to a question for the CSIDriver object."""
    if status == 404:
        return Finding("problem", "CSIDriver", f"the cluster has no CSIDriver {driver}", _APPLY)
    if status != 200:
        return Finding("skipped", "CSIDriver", f"not looked up: the API server answers {status}")
    spec = found.get("spec") or {}
    wrong = [f"{key}, so that {why}" for key, (value, why) in _NEEDED.items() if spec.get(key) is not value]
    if "Ephemeral" not in (spec.get("volumeLifecycleModes") or ()):
        wrong.append("volumeLifecycleModes, so that pods may have no inline volume")
    if wrong:
        return Finding("problem", "CSIDriver", f"CSIDriver {driver} is wrong in {'; '.join(wrong)}", _APPLY)
    return Finding("ok", "CSIDriver", f"CSIDriver {driver} is as it must be")


def of_node(driver: str, node: str, status: int, found: Mapping[str, Any]) -> Finding:
    """What the API server says to a question for the node's CSINode object, which kubelet writes."""
    if status != 200:
        return Finding("skipped", "CSINode", f"not looked up: the API server answers {status} for {node}")
    drivers = [each.get("name") for each in (found.get("spec") or {}).get("drivers") or ()]
    if driver not in drivers:
        return Finding(
            "problem",
            "CSINode",
            f"kubelet of {node} has not taken {driver} on",
            "see kubelet's log (journalctl -u kubelet), and that csi.kubelet_root is its --root-dir",
        )
    return Finding("ok", "CSINode", f"kubelet of {node} has taken {driver} on")
