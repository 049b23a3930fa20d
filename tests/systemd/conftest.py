"""Machines for tests, and disks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.node.loops import Loop
from tests.system.waiting import eventually
from tests.systemd.machine import Machine

SETTINGS = "root: /var/lib/cached\nsockets: {directory: /run/cached}\nmin_free: 0\ncapacity: 200MiB\n"
KUBELET = """\
[Unit]
Description=What stands here for kubelet: it only starts
[Service]
ExecStart=sleep infinity
[Install]
WantedBy=multi-user.target
"""

NewMachine = Callable[[list[str]], Machine]


@pytest.fixture(scope="module")
def new_machine() -> Iterator[NewMachine]:
    """Machines with the units in place and nothing enabled yet; they end with the module."""
    with ExitStack() as stack:

        def make(devices: list[str]) -> Machine:
            machine = stack.enter_context(Machine(devices))
            machine.install(
                "cached.service",
                "cached-node-init.service",
                "cached-warm.service",
                "kubelet.service.d/10-cached.conf",
            )
            machine.write("/etc/systemd/system/kubelet.service", KUBELET)
            machine.write("/etc/cached/cached.yaml", SETTINGS)
            return machine

        yield make


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """One blank disk for the module's machines."""
    with Loop(tmp_path_factory.mktemp("disk") / "image") as loop:
        yield loop


def model(machine: Machine, size: int, name: str = "model") -> str:
    """A model in a directory of the machine, as a source."""
    place = machine.root / "srv" / name
    place.mkdir(parents=True)
    place.joinpath("weights").write_bytes(b"w" * size)
    return f"file:///srv/{name}"


def pid(machine: Machine) -> int:
    """The daemon's process, as the machine counts them."""
    return int(machine.show("cached.service", "MainPID")[0])


def status(machine: Machine, number: int) -> dict[str, str]:
    """What the kernel tells of a process of the machine."""
    lines = machine.run("cat", f"/proc/{number}/status").splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def until_serving_anew(machine: Machine, before: int) -> None:
    """Wait until another daemon than the process `before` serves."""
    eventually(
        lambda: pid(machine) not in (0, before) and machine.state("cached.service") == "active", seconds=30
    )
    assert machine.cachectl("health") == {"status": "serving"}
