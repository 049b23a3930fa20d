"""cached-node-init.service on a disk: the first boot, the next ones, another disk, and one with data."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from tests.node.loops import Loop
from tests.systemd.conftest import SETTINGS, NewMachine, model
from tests.systemd.machine import Machine

UNIT = "var-lib-cached.mount"
UNITS = ("cached-node-init.service", "cached.service", "kubelet.service")
# So slow that the model will not be warm before the tests have ended.
SLOW = SETTINGS + "catalog: /etc/cached/catalog.yaml\ntransfer: {bandwidth: 64KiB}\ndrain_timeout: 0.1\n"
MIRROR = "images: {mirror: '127.0.0.1:7402', upstreams: {registry.example: {}}}\n"


def take(machine: Machine, disk: Loop) -> None:
    """Have node-init take this disk, which is of no model; and kubelet, and cached, as on a node."""
    command = f"/opt/cached/bin/cachectl node-init --disk {disk.path}"
    machine.write(
        "/etc/systemd/system/cached-node-init.service.d/90-disk.conf",
        f"[Service]\nExecStart=\nExecStart={command}\n",
    )
    machine.enable("cached-node-init.service", "cached.service", "kubelet.service")


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine, disk: Loop) -> Machine:
    """It was booted for the first time, with a blank disk."""
    machine = new_machine([disk.path])
    source = model(machine, 64 << 20)
    machine.write("/etc/cached/cached.yaml", SLOW + MIRROR)
    machine.write("/etc/cached/catalog.yaml", f"models:\n  m: {{source: '{source}', warm_at_start: true}}\n")
    take(machine, disk)
    assert machine.boot() == "running"
    return machine


def mounted(machine: Machine) -> dict[str, str]:
    fields = "UUID,FSTYPE,OPTIONS,LABEL"
    told = machine.run("findmnt", "--json", f"--output={fields}", "/var/lib/cached")
    (found,) = json.loads(told)["filesystems"]
    return {name: str(value) for name, value in found.items()}


def node_init(machine: Machine, disk: Loop, *arguments: str) -> Any:
    return machine.cachectl("node-init", "--disk", disk.path, *arguments)


def test_the_first_boot_makes_a_filesystem_and_serves_from_it(machine: Machine) -> None:
    fs = mounted(machine)
    assert (fs["fstype"], fs["label"]) == ("xfs", "cached")
    assert {"noatime", "nosuid", "nodev"} <= set(fs["options"].split(","))
    assert machine.run("stat", "--format=%U", "/var/lib/cached/index.db") == "cached\n"
    (fragment,) = machine.show(UNIT, "FragmentPath")
    assert fragment == f"/run/systemd/system/{UNIT}"
    assert f"What=/dev/disk/by-uuid/{fs['uuid']}\n" in machine.run("cat", fragment)


def test_nobody_waited_for_the_model(machine: Machine) -> None:
    """kubelet came after the daemon served, while the model that is warmed at start was still on its way."""
    times = [int(machine.show(unit, "ActiveEnterTimestampMonotonic")[0]) for unit in UNITS]
    assert times == sorted(times)
    assert 0 not in times
    assert machine.cachectl("describe", "m")["artifact"]["state"] == "fetching"


def test_containerd_was_told_of_the_mirror(machine: Machine) -> None:
    text = machine.run("cat", "/etc/containerd/certs.d/registry.example/hosts.toml")
    assert tomllib.loads(text)["host"].keys() == {"http://127.0.0.1:7402"}


def test_a_second_run_changes_nothing(machine: Machine, disk: Loop) -> None:
    before = (mounted(machine), machine.show("cached.service", "MainPID"))
    done = node_init(machine, disk)
    assert done["settled"] == f"/var/lib/cached is mounted already, from {disk.path}"
    assert [step["says"] for step in done["steps"]] == [
        "have containerd ask cached for images",
        "start cached",
    ]
    assert (mounted(machine), machine.show("cached.service", "MainPID")) == before


def test_a_run_that_was_cut_off_before_the_mount_is_taken_up(machine: Machine, disk: Loop) -> None:
    before = mounted(machine)["uuid"]
    machine.run("systemctl", "stop", "cached.service", UNIT)
    machine.run("rm", f"/run/systemd/system/{UNIT}")
    planned = node_init(machine, disk, "--dry-run")
    assert [step["says"] for step in planned["steps"]] == [
        "write the mount unit of /var/lib/cached",
        "have systemd read it",
        "mount /var/lib/cached",
        "have containerd ask cached for images",
        "start cached",
    ]
    assert machine.run("findmnt", "/var/lib/cached", code=1) == "", "a dry run has mounted it"
    assert node_init(machine, disk)["steps"] == planned["steps"]
    assert mounted(machine)["uuid"] == before


@pytest.mark.slow
def test_the_next_boot_finds_it_again(machine: Machine) -> None:
    before = mounted(machine)["uuid"]
    machine.run("sh", "-c", "echo kept > /var/lib/cached/kept; sync")
    machine.power_off()
    assert machine.boot() == "running"
    assert mounted(machine)["uuid"] == before
    assert machine.run("cat", "/var/lib/cached/kept") == "kept\n"


@pytest.mark.slow
def test_a_disk_that_was_replaced_is_no_failed_boot(machine: Machine, disk: Loop) -> None:
    before = mounted(machine)["uuid"]
    machine.power_off()
    disk.blank()
    assert machine.boot() == "running"
    assert mounted(machine)["uuid"] != before
    assert machine.state("cached.service") == "active"


@pytest.mark.slow
def test_a_disk_with_data_keeps_it_and_kubelet_comes_up_without_cached(machine: Machine, disk: Loop) -> None:
    machine.power_off()
    disk.blank()
    disk.run("mkfs.ext4", "-q", "-L", "precious")
    before = disk.digest
    assert machine.boot() == "degraded"
    assert [machine.state(unit) for unit in UNITS] == ["failed", "inactive", "active"]
    said = machine.run("journalctl", "--no-pager", "--output=cat", "--unit=cached-node-init.service")
    assert f"no filesystem is made for /var/lib/cached: {disk.path} carries ext4 labelled precious" in said
    assert "hint: if their data may go" in said
    assert machine.run("ls", "/var/lib/cached") == "", "the boot disk was filled instead"
    machine.power_off()
    assert disk.digest == before
