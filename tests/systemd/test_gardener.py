"""The patch for Gardener on one node, step by step, applied as gardener-node-agent applies it."""

from __future__ import annotations

import io
import json
import shutil
import sys
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cached.cli.main import cli
from tests.node.loops import Loop
from tests.system.waiting import eventually
from tests.systemd.conftest import KUBELET, SETTINGS, model, pid
from tests.systemd.machine import Machine
from tests.systemd.node_agent import NodeAgent, merged

pytestmark = pytest.mark.slow

RUNTIME = KUBELET.replace("kubelet", "containerd")
THEIR_DROP_IN = {"name": "10-theirs.conf", "content": "# Theirs.\n"}
THEIRS: Mapping[str, Any] = {
    "units": [
        {"name": "containerd.service", "content": RUNTIME},
        {
            "name": "kubelet.service",
            "content": KUBELET,
            "dropIns": [{"name": "10-theirs.conf", "content": "#\n"}],
        },
    ],
    "files": [{"path": "/etc/theirs", "content": {"inline": {"encoding": "", "data": "theirs\n"}}}],
}
FIRST = "models:\n  first: {source: 'file:///srv/first', warm_at_start: true}\n"
SECOND = FIRST + "  second: {source: 'file:///srv/second', warm_at_start: true}\n"
QUIET = SETTINGS + (
    "catalog: /etc/cached/catalog.yaml\nimages: {mirror: '127.0.0.1:7402', upstreams: {docker.io: {}}}\n"
)
OURS = ["cached-node-init.service", "cached.service"]


def archive(version: str) -> bytes:
    """What an image would hold; here the programs are those of this checkout, found by their paths."""
    texts = {"version": f"{version}\n"}
    for name in ("cached", "cachectl"):
        texts[f"bin/{name}"] = f'#!/bin/sh\nexec {sys.prefix}/bin/{name} "$@"\n'
    with io.BytesIO() as data:
        with tarfile.open(fileobj=data, mode="w") as tar:
            for name, text in texts.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(text), 0o755
                tar.addfile(entry, io.BytesIO(text.encode()))
        return data.getvalue()


IMAGES = {f"reg/cached-node:{version}": archive(version) for version in ("1", "2")}


class Node:
    """A node of a shoot whose cached has this disk."""

    def __init__(self, machine: Machine, disk: Loop, files: Path) -> None:
        self.machine = machine
        self.agent = NodeAgent(machine, IMAGES)
        self._disk = disk
        self._files = files

    def osc(self, settings: str = QUIET, catalog: str = FIRST, version: str = "1") -> dict[str, Any]:
        """Gardener's own config with our patch, and with a drop-in by which the operator names the disk."""
        (self._files / "cached.yaml").write_text(settings)
        (self._files / "catalog.yaml").write_text(catalog)
        given = [f"--config={self._files / 'cached.yaml'}", f"--catalog={self._files / 'catalog.yaml'}"]
        done = CliRunner().invoke(
            cli, ["gardener", "osc", *given, f"--image=reg/cached-node:{version}", "--output=json"]
        )
        assert done.exit_code == 0, done.output
        patch = json.loads(done.stdout)["spec"]
        command = f"/opt/cached/bin/cachectl node-init --no-containerd --disk {self._disk.path}"
        patch["units"][0]["dropIns"].append(
            {"name": "30-disk.conf", "content": f"[Service]\nExecStart=\nExecStart={command}\n"}
        )
        return merged(THEIRS, patch)

    def healthy(self) -> None:
        """Wait until systemd has done what it was asked for, and see that Gardener would be content."""
        eventually(lambda: not self.machine.run("systemctl", "list-jobs", "--no-legend").strip(), seconds=60)
        assert self.agent.unhealthy() == []

    def started(self, unit: str) -> int:
        return int(self.machine.show(unit, "ActiveEnterTimestampMonotonic")[0])

    def states(self) -> dict[str, str]:
        return {each["ref"]: each["state"] for each in self.machine.cachectl("ls")["artifacts"]}


@pytest.fixture(scope="module")
def node(disk: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Machine([disk.path]) as machine:
        for name in ("first", "second"):
            model(machine, 1000, name)
        shutil.rmtree(machine.root / "opt/cached")  # it comes with the image
        assert machine.boot() == "running"
        node = Node(machine, disk, tmp_path_factory.mktemp("files"))
        restarted = node.agent.apply(node.osc())
        assert set(restarted) == {"containerd.service", "kubelet.service", *OURS}
        node.healthy()
        yield node


def test_a_new_node_serves_before_kubelet_starts(node: Node) -> None:
    """All units were restarted at the same time, kubelet and cached before what they need was there."""
    assert [*OURS, "kubelet.service"] == sorted([*OURS, "kubelet.service"], key=node.started)
    where = ("--noheadings", "--output=FSTYPE,LABEL", "/var/lib/cached")
    assert node.machine.run("findmnt", *where).split() == ["xfs", "cached"]
    eventually(lambda: node.states() == {"first": "warm"})


def test_containerd_asks_the_mirror_first(node: Node) -> None:
    text = node.machine.run("cat", "/etc/containerd/certs.d/docker.io/hosts.toml")
    assert tomllib.loads(text) == {
        "server": "https://registry-1.docker.io",
        "host": {"http://127.0.0.1:7402": {"capabilities": ["pull", "resolve"]}},
    }


def test_the_same_config_again_restarts_nothing(node: Node) -> None:
    assert node.agent.apply(node.osc()) == []


def test_a_model_more_restarts_nothing_and_is_followed(node: Node) -> None:
    node.agent.apply(node.osc())
    assert node.agent.apply(node.osc(catalog=SECOND)) == []
    eventually(lambda: node.states() == {"first": "warm", "second": "warm"})


def test_other_settings_restart_cached_and_leave_kubelet_and_disk_alone(node: Node) -> None:
    node.agent.apply(node.osc(catalog=SECOND))
    node.healthy()

    def seen() -> tuple[int, int, str]:
        uuid = node.machine.run("findmnt", "--noheadings", "--output=UUID", "/var/lib/cached")
        return pid(node.machine), node.started("kubelet.service"), uuid

    before = seen()
    settings = QUIET.replace("capacity: 200MiB", "capacity: 100MiB")
    assert set(node.agent.apply(node.osc(settings, SECOND))) == set(OURS)
    node.healthy()
    assert before[0] != seen()[0]
    assert before[1:] == seen()[1:]
    assert node.machine.cachectl("status")["space"]["capacity_bytes"] == 100 << 20
    eventually(lambda: node.states() == {"first": "warm", "second": "warm"})


def test_another_image_replaces_the_program(node: Node) -> None:
    node.agent.apply(node.osc())
    node.healthy()
    assert node.machine.run("cat", "/opt/cached/version") == "1\n"
    before = pid(node.machine)
    assert node.agent.apply(node.osc(version="2")) == ["cached-node-init.service"]
    node.healthy()
    assert node.machine.run("cat", "/opt/cached/version") == "2\n"
    assert pid(node.machine) not in (0, before), "the old program still runs"


def test_the_next_boot_needs_no_agent(node: Node) -> None:
    eventually(lambda: node.states()["first"] == "warm")
    node.machine.power_off()
    assert node.machine.boot() == "running"
    assert node.agent.unhealthy() == []
    assert [*OURS, "kubelet.service"] == sorted([*OURS, "kubelet.service"], key=node.started)
    assert node.states()["first"] == "warm"


def test_without_the_patch_the_node_is_as_it_was(node: Node) -> None:
    assert node.agent.apply(THEIRS) == ["kubelet.service"]
    node.healthy()
    for unit in OURS:
        assert node.machine.show(unit, "LoadState") == ["not-found"]
    left = node.machine.run("find", "/etc", "-name", "*cached*", "-not", "-path", "/etc/cached*").split()
    assert [name for name in left if "ld.so" not in name] == []
    assert node.machine.state("kubelet.service") == "active"
