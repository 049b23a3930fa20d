"""cachectl among other programs: pipes, completion, and its weight at the start."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from cached.cli.main import COMMANDS
from tests.cli.conftest import CACHECTL, Ask, Run, environment
from tests.cli.node import Node

HEAVY = {
    "rich", "yaml", "pydantic", "boto3", "botocore", "prometheus_client", "watchdog", "blake3", "awscrt",
    "cryptography",
}  # fmt: skip


def test_a_reader_that_leaves_is_no_error(node: Node) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing) as end:
        ended = subprocess.run(
            [CACHECTL, "ls"], env=environment(node), stdout=end, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (141, "")


def test_tables_have_no_escapes_in_a_pipe(run: Run) -> None:
    for command in (["ls"], ["status"], ["describe", "minilm"], ["get", "nope"]):
        ended = run(*command)
        assert "\x1b" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(ask: Ask, shell: str) -> None:
    script = ask("completion", shell)
    assert script.exit_code == 0
    assert f"_CACHECTL_COMPLETE={shell}_complete" in script.stdout


def test_a_bash_script_is_valid(run: Run) -> None:
    script = run("completion", "bash").stdout
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


def complete(run: Run, line: str) -> list[str]:
    """What bash would offer for the last word of `line`."""
    words = line.split(" ")
    asked = {"_CACHECTL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    return [row.partition(",")[2] for row in run(env=asked).stdout.split("\n") if row]


def test_commands_options_and_models_are_completed(run: Run) -> None:
    assert complete(run, "cachectl ") == list(COMMANDS)
    assert complete(run, "cachectl warm --a") == ["--all", "--address"]
    assert complete(run, "cachectl get mi") == ["minilm"]
    assert complete(run, "cachectl evict minilm ") == ["big", "cold", "minilm"]


def test_images_are_completed_where_they_are_meant(run: Run) -> None:
    named = ["docker.io/library/redis:7", "quay.io/a/b:1", "registry.example:5000/nim/llama:1.8"]
    assert complete(run, "cachectl warm --image ") == named
    assert complete(run, "cachectl warm --image q") == ["quay.io/a/b:1"]
    assert complete(run, "cachectl pin oci://d") == ["oci://docker.io/library/redis:7"]


def test_models_are_completed_from_the_daemon_that_was_named(run: Run) -> None:
    assert complete(run, "cachectl --address /nowhere/cached.sock get mi") == []


def imported(node: Node, *args: str) -> set[str]:
    """Packages that cachectl has loaded by its end."""
    script = (
        "import sys\n"
        "from cached.cli.main import main\n"
        f"sys.argv[1:] = {list(args)!r}\n"
        "try: main()\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], env=environment(node), capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "args", [["get", "minilm"], ["get", "cold"], ["ls"], ["exec", "minilm", "--", "true"]]
)
def test_nothing_heavy_is_imported_without_need(node: Node, args: list[str]) -> None:
    assert imported(node, *args) & HEAVY == set()


def test_help_does_not_even_import_grpc(node: Node) -> None:
    assert imported(node, "--help") & (HEAVY | {"grpc", "google"}) == set()


def test_yaml_is_imported_for_yaml_only(node: Node) -> None:
    assert imported(node, "ls", "-o", "yaml") & HEAVY == {"yaml"}


def test_a_warm_get_costs_little_more_than_importing_grpc(
    node: Node, record_property: Callable[[str, object], None]
) -> None:
    """Judged in CPU time, which others on the machine disturb least. Wall-clock time is told only."""
    commands = {"get": [CACHECTL, "get", "minilm"], "grpc": [sys.executable, "-c", "import grpc"]}
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(7):
        for name, command in commands.items():
            took[name].append(once(command, node))
    cpu = {}
    for name, runs in took.items():
        wall, cpu[name] = (statistics.median(values) for values in zip(*runs, strict=True))
        record_property(f"{name}_wall_seconds", round(wall, 3))
        print(f"{name}: {wall:.3f} s wall, {cpu[name]:.3f} s CPU")
    assert cpu["get"] < 3 * cpu["grpc"]


def once(command: list[str], node: Node) -> tuple[float, float]:
    """Wall-clock and CPU seconds of one run."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, env=environment(node), stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - began, os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, spent
