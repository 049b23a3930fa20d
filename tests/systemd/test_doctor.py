"""`cachectl doctor` where the daemon is a unit: well, and then hardened, disabled, failed."""

from __future__ import annotations

import pytest

from tests.system.waiting import eventually
from tests.systemd.conftest import SETTINGS, NewMachine, model
from tests.systemd.machine import Machine

MOUNTS = "publish: {mode: bind}\n"
CUTTING = "[Service]\nPrivateTmp=yes\nProtectSystem=full\nWatchdogSec=0\n"


@pytest.fixture(scope="module")
def machine(new_machine: NewMachine) -> Machine:
    """It has no local disks, and mounts for pods."""
    machine = new_machine([])
    machine.install("cached.service.d/20-privileges.conf")
    source = model(machine, 1000)
    machine.write("/etc/cached/cached.yaml", SETTINGS + MOUNTS + "catalog: /etc/cached/catalog.yaml\n")
    machine.write("/etc/cached/catalog.yaml", f"models:\n  m: {{source: '{source}'}}\n")
    machine.enable("cached.service")
    assert machine.boot() == "running"
    return machine


def bad(machine: Machine, code: int = 17) -> dict[str, list[str]]:
    """What is wrong, by check. The overlay that this machine lies on is not meant."""
    told = machine.cachectl("doctor", code=code)
    return {
        check["name"]: [
            each["message"] for each in check["findings"] if each["level"] in ("warning", "problem")
        ]
        for check in told["checks"]
        if check["level"] in ("warning", "problem") and check["name"] != "disk"
    }


def restart(machine: Machine) -> None:
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "cached.service")
    eventually(lambda: machine.state("cached.service") == "active")


def test_a_unit_that_is_well_and_one_that_was_hardened(machine: Machine) -> None:
    assert bad(machine, code=0) == {}
    machine.write("/etc/systemd/system/cached.service.d/90-more.conf", CUTTING)
    restart(machine)
    machine.run("systemctl", "--quiet", "disable", "cached.service")
    found = bad(machine)
    assert found.keys() == {"systemd", "mounts"}
    disabled, unwatched, cut = found["systemd"]
    assert disabled == "cached.service is disabled: it does not start at the next boot"
    assert unwatched.startswith("WatchdogSec= is not set")
    assert cut.startswith("ProtectSystem=full, PrivateTmp=yes gives it a mount namespace of its own")
    assert "is on no mount that is shared with the host" in found["mounts"][0]


def test_a_unit_that_fails(machine: Machine) -> None:
    machine.write("/etc/systemd/system/cached.service.d/90-more.conf", "[Service]\nRestart=no\n")
    machine.write("/etc/cached/cached.yaml", SETTINGS + "capacity: lots\n")
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "cached.service", code=None)
    found = bad(machine)
    assert found.keys() == {"systemd", "settings", "sockets"}
    assert found["systemd"][0] == "cached.service has failed (exit-code)"
    assert "capacity" in found["settings"][0]
