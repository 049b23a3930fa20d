"""cached.service under a systemd that is the first process: what it is allowed, and what it outlives."""

from __future__ import annotations

import pytest

from tests.system.waiting import eventually
from tests.systemd.conftest import NewMachine, model, pid, status, until_serving_anew
from tests.systemd.machine import Machine

WATCHED = "[Service]\nWatchdogSec=2\nRestartSec=100ms\n"


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> Machine:
    """It has no local disks."""
    machine = new_machine([])
    machine.write("/etc/systemd/system/cached.service.d/90-watched.conf", WATCHED)
    machine.enable("cached.service", "cached-node-init.service", "kubelet.service")
    model(machine, 100_000)
    assert machine.boot() == "running"
    return machine


def test_it_is_up_when_it_serves(machine: Machine) -> None:
    assert machine.show("cached.service", "ActiveState", "StatusText") == [
        "active",
        "serving from /var/lib/cached",
    ]
    assert machine.cachectl("health") == {"status": "serving"}


def test_it_is_nobody_in_particular_and_may_do_nothing(machine: Machine) -> None:
    its = status(machine, pid(machine))
    assert its["Uid"].split() == ["65532"] * 4
    assert {its[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert (its["NoNewPrivs"], its["Seccomp"]) == ("1", "2")


def test_it_lives_in_the_hosts_mount_namespace(machine: Machine) -> None:
    """Whatever hardening systemd was asked for, it must not have given it one of its own."""
    spaces = [machine.run("readlink", f"/proc/{number}/ns/mnt") for number in (1, pid(machine))]
    assert spaces[0] == spaces[1]


def test_a_model_is_served_from_where_pods_look(machine: Machine) -> None:
    got = machine.cachectl("get", "file:///srv/model")
    assert got["path"].startswith("/var/lib/cached/trees/")
    assert machine.run("stat", "--format=%s", f"{got['path']}/weights") == "100000\n"
    assert machine.run("stat", "--format=%A %U", "/run/cached/operator") == "drwx------ cached\n"


def test_a_daemon_that_hangs_is_replaced(machine: Machine) -> None:
    hung = pid(machine)
    machine.run("kill", "-STOP", str(hung))
    until_serving_anew(machine, hung)
    assert "watchdog" in machine.run("journalctl", "--no-pager", "--unit=cached.service").lower()


def test_a_daemon_that_was_killed_comes_back(machine: Machine) -> None:
    killed = pid(machine)
    machine.run("kill", "-KILL", str(killed))
    until_serving_anew(machine, killed)


def test_the_sockets_directory_outlives_a_stop(machine: Machine) -> None:
    """Pods have mounted it; another one at the same path would be another one to them."""
    before = machine.run("stat", "--format=%i", "/run/cached", "/run/cached/pods")
    machine.run("systemctl", "stop", "cached.service")
    assert machine.show("cached.service", "ActiveState", "Result") == ["inactive", "success"]
    machine.run("systemctl", "start", "cached.service")
    assert machine.run("stat", "--format=%i", "/run/cached", "/run/cached/pods") == before


def test_kubelet_comes_after_it_and_without_it(machine: Machine) -> None:
    (began,) = machine.show("kubelet.service", "ActiveEnterTimestampMonotonic")
    (ended,) = machine.show("cached-node-init.service", "ActiveEnterTimestampMonotonic")
    assert int(began) > int(ended)
    machine.run("systemctl", "stop", "kubelet.service", "cached.service")
    machine.run("systemctl", "mask", "--runtime", "cached.service", "cached-node-init.service")
    machine.run("systemctl", "start", "kubelet.service")
    assert machine.state("kubelet.service") == "active"
    machine.run("systemctl", "unmask", "--runtime", "cached.service", "cached-node-init.service")
    machine.run("systemctl", "start", "cached.service")


@pytest.mark.parametrize("instead", ["false", "sleep infinity"])
def test_kubelet_waits_no_longer_than_a_start_may_take(machine: Machine, instead: str) -> None:
    """A daemon that ends at once, again and again, and one that never says that it serves."""
    drop_in = "/etc/systemd/system/cached.service.d/95-broken.conf"
    machine.run("systemctl", "stop", "kubelet.service", "cached.service")
    machine.write(drop_in, f"[Service]\nExecStart=\nExecStart={instead}\nTimeoutStartSec=1\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "start", "kubelet.service", "cached.service", code=1)
    assert machine.state("kubelet.service") == "active"
    eventually(lambda: int(machine.show("cached.service", "NRestarts")[0]) > 1)
    machine.run("rm", drop_in)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "cached.service")


def test_the_whole_catalog_is_handed_over_when_that_is_enabled(machine: Machine) -> None:
    source = model(machine, 1000, "other")
    machine.write("/etc/cached/catalog.yaml", f"models:\n  other: {{source: '{source}'}}\n")
    settings = (machine.root / "etc/cached/cached.yaml").read_text()
    machine.write("/etc/cached/cached.yaml", settings + "catalog: /etc/cached/catalog.yaml\n")
    machine.run("systemctl", "enable", "cached-warm.service")
    machine.run("systemctl", "restart", "cached.service")
    eventually(lambda: machine.cachectl("describe", "other")["artifact"]["state"] == "warm", seconds=20)
    machine.run("systemctl", "disable", "cached-warm.service")
    machine.write("/etc/cached/cached.yaml", settings)
