"""Doing what was planned, with programs that only pretend; and the command as people call it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cached.cli import node_init
from cached.cli.main import cli
from cached.cli.node import prepare, tools
from cached.cli.node.steps import Put, Run, Step
from cached.cli.node.wish import Wish
from cached.core.errors import CachedError, DiskFault, NotConfigured
from tests.node.loops import Loop
from tests.node.machine import ROOT, Machine, local


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Two blank disks; node-init sees and changes these instead of the real ones."""
    machine = Machine(local("nvme1n1"), local("nvme2n1"))
    monkeypatch.setattr(prepare, "look", lambda wish: machine.found)
    monkeypatch.setattr(prepare, "do", machine.do)
    return machine


def told(steps: list[Step]) -> list[str]:
    return [step.says for step in steps]


def test_all_steps_are_told_before_they_are_done_and_returned_after(machine: Machine) -> None:
    before: list[tuple[str, str]] = []
    plan = prepare.prepare(Wish(ROOT), lambda step: before.append((step.says, machine.mount.point)))
    assert [says for says, _ in before] == told([*plan.steps]) == [
        "make an array of 2 disks",
        "make a filesystem on /dev/md/cached",
        f"write the mount unit of {ROOT}",
        "have systemd read it",
        f"mount {ROOT}",
    ]  # fmt: skip
    assert {point for _, point in before} == {"/"}
    assert machine.mount.point == str(ROOT)


def test_what_an_array_carries_is_looked_at_once_it_is_assembled(machine: Machine) -> None:
    machine.run()
    machine.reboot(assembles=False)
    plan = prepare.prepare(Wish(ROOT), lambda step: None)
    assert told([*plan.steps])[0] == "assemble the array of 2 disks"
    assert told([*plan.steps])[-1] == f"mount {ROOT}"
    assert machine.mount.point == str(ROOT)


def test_steps_that_change_nothing_are_a_fault_in_the_end(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "do", lambda step: None)
    with pytest.raises(DiskFault, match=f"{ROOT} is not mounted after all steps"):
        prepare.prepare(Wish(ROOT), lambda step: None)


def test_a_program_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(DiskFault, match=r"sh -c .*: no good") as raised:
        tools.run(("sh", "-c", "echo no good >&2; exit 3"), hint="try another")
    assert raised.value.hint == "try another"


def test_a_program_that_says_nothing_is_told_by_its_exit_code() -> None:
    with pytest.raises(NotConfigured, match="exit code 3"):
        tools.run(("sh", "-c", "exit 3"), NotConfigured)


def test_a_program_that_asks_gets_no_answer() -> None:
    assert tools.run(("sh", "-c", "read answer || echo nobody")) == "nobody\n"


def test_a_program_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_SECONDS", 0.2)
    with pytest.raises(DiskFault, match="sleep 60: nothing came of it"):
        tools.run(("sleep", "60"))


def test_a_program_that_is_missing_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "_PATH", "/nowhere")
    with pytest.raises(NotConfigured, match=r"mkfs\.xfs is missing") as raised:
        prepare.do(Run("make a filesystem", ("mkfs.xfs", "/dev/null")))
    assert raised.value.hint == "install the package xfsprogs"


def test_a_file_is_put_into_a_directory_that_is_not_there_yet(tmp_path: Path) -> None:
    prepare.do(Put("write it", tmp_path / "run/systemd/x.mount", "text\n"))
    assert (tmp_path / "run/systemd/x.mount").read_text() == "text\n"
    with pytest.raises(DiskFault, match="cannot write /proc/x/y"):
        prepare.do(Put("write it", Path("/proc/x/y"), ""))


def ask(directory: Path, *args: str, settings: str = "") -> Result:
    """`cachectl node-init` for a data directory below `directory`."""
    file = directory / "cached.yaml"
    file.write_text(f"root: {directory}/data\n{settings}")
    return CliRunner().invoke(cli, ["node-init", "--config", str(file), *args], prog_name="cachectl")


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# No disk is of this model, whatever machine the tests run on.
NONE = ("--disk-model", "none")
MIRROR = "images: {mirror: '127.0.0.1:7402', upstreams: {docker.io: {}}}\n"


def test_a_dry_run_tells_all_and_changes_nothing(tmp_path: Path) -> None:
    with Loop(tmp_path / "image") as loop:
        before = loop.digest
        said = answer(ask(tmp_path, "--dry-run", "--disk", loop.path, "-o", "json"))
        assert (said["root"], said["dry_run"], said["settled"]) == (f"{tmp_path}/data", True, None)
        assert said["steps"][0]["how"].startswith("mkfs.xfs -q -K -L cached -m uuid=")
        assert said["steps"][-1] == {
            "says": "start cached", "how": "systemctl start --no-block cached.service",
        }  # fmt: skip
        table = ask(tmp_path, "--dry-run", "--disk", loop.path).stdout
        assert f"make a filesystem on {loop.path}" in table
        assert loop.digest == before


@pytest.mark.parametrize(
    ("settings", "options", "asks"),
    [(MIRROR, [], True), (MIRROR, ["--no-containerd"], False), ("", [], False)],
)
def test_containerd_is_told_of_a_mirror_that_there_is(
    tmp_path: Path, settings: str, options: list[str], asks: bool
) -> None:
    steps = answer(ask(tmp_path, *NONE, "--dry-run", "-o", "json", *options, settings=settings))["steps"]
    containerd = [step["how"] for step in steps if "containerd" in step["how"]]
    assert bool(containerd) is asks
    assert all(how.endswith(f"containerd configure --config {tmp_path}/cached.yaml") for how in containerd)
    assert steps[-1]["says"] == "start cached", "containerd is told first"


def test_what_containerd_refuses_does_not_keep_cached_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def do(step: Step, fault: type[CachedError]) -> None:
        done.append(step.says)
        if "containerd" in step.says:
            raise fault("containerd has settings of its own", hint="mend them")

    monkeypatch.setattr(node_init, "do", do)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(prepare, "_LOCK", tmp_path / "lock")
    result = ask(tmp_path, *NONE, settings=MIRROR)
    assert (result.exit_code, done) == (0, ["have containerd ask cached for images", "start cached"])
    assert "warning: containerd has settings of its own (mend them)" in result.stderr


def test_only_root_may_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = ask(tmp_path, *NONE)
    assert (result.exit_code, result.stdout) == (4, "")
    assert "run it as root" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--disk", "/dev/sda", "--disk-model", "X"], 2, "leave --disk-model out"),
        (["--disk", "/dev/no-such-disk"], 3, "no such disk: no-such-disk"),
        (["--config", "/nowhere/cached.yaml"], 2, "cannot read /nowhere/cached.yaml"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    result = ask(tmp_path, "--dry-run", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
