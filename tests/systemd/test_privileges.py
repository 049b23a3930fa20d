"""cached.service with the drop-in for mounts: what is mounted reaches pods, and outlives the daemon."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import SETTINGS, NewMachine, model, pid, status, until_serving_anew
from tests.systemd.machine import Machine

_SYS_ADMIN, _DAC_OVERRIDE = 21, 1


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> Machine:
    machine = new_machine([])
    machine.install("cached.service.d/20-privileges.conf")
    machine.write("/etc/systemd/system/cached.service.d/90-quick.conf", "[Service]\nRestartSec=100ms\n")
    machine.write(
        "/etc/cached/cached.yaml", SETTINGS + "publish: {mode: bind}\ncsi: {driver: csi.cached.dev}\n"
    )
    # As kubelet makes them: for root alone.
    pods = machine.root / "var/lib/kubelet/pods"
    pods.mkdir(parents=True, exist_ok=True)
    for directory in (pods, pods.parent):
        directory.chmod(0o750)
    machine.enable("cached.service")
    model(machine, 100_000)
    assert machine.boot() == "running"
    return machine


def test_it_is_nobody_in_particular_with_two_capabilities(machine: Machine) -> None:
    its = status(machine, pid(machine))
    assert its["Uid"].split() == ["65532"] * 4
    assert {int(its[name], 16) for name in ("CapEff", "CapBnd", "CapAmb")} == {
        1 << _SYS_ADMIN | 1 << _DAC_OVERRIDE
    }
    assert (its["NoNewPrivs"], its["Seccomp"]) == ("1", "2")


def test_it_lives_in_the_hosts_mount_namespace(machine: Machine) -> None:
    spaces = [machine.run("readlink", f"/proc/{number}/ns/mnt") for number in (1, pid(machine))]
    assert spaces[0] == spaces[1]


def test_kubelet_finds_its_driver(machine: Machine) -> None:
    for socket in ("plugins_registry/csi.cached.dev-reg.sock", "plugins/csi.cached.dev/csi.sock"):
        machine.run("test", "-S", f"/var/lib/kubelet/{socket}")


def test_a_mount_reaches_a_pod_and_stays_while_daemons_come_and_go(machine: Machine) -> None:
    """A mount namespace that hears of the host's mounts stands for the pod."""
    pod = machine.start("unshare", "--mount", "--propagation", "slave", "sleep", "infinity")
    path = machine.cachectl("get", "file:///srv/model")["path"]
    assert path.startswith("/run/cached/mounts/")

    def in_pod(*command: str, code: int = 0) -> str:
        return machine.run("nsenter", f"--target={pod}", "--mount", *command, code=code)

    def mounts() -> str:
        return machine.run("findmnt", "--noheadings", "--output=ID,TARGET,OPTIONS", path)

    mounted = mounts()
    assert in_pod("stat", "--format=%s", f"{path}/weights") == "100000\n"
    in_pod("touch", f"{path}/new", code=1)
    in_pod("sh", "-c", f"echo spoilt > {path}/weights", code=2)
    for end in ("systemctl restart cached.service", "kill -KILL $(systemctl show -P MainPID cached.service)"):
        before = pid(machine)
        machine.run("sh", "-c", end)
        until_serving_anew(machine, before)
        assert mounts() == mounted
        assert in_pod("stat", "--format=%s", f"{path}/weights") == "100000\n"
