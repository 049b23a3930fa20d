"""exec: the program's arguments, its lease, its signals and its end. Always the real program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import CACHECTL, Begin, Run, environment
from tests.cli.node import Node

# Says which signals reach it, one line each; ends on a second TERM.
LISTENER = """
import signal, sys
def heard(number, frame):
    print(signal.Signals(number).name, flush=True)
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(number, heard)
signal.signal(signal.SIGTERM, lambda number, frame: (heard(number, frame), sys.exit(42)))
print("up", flush=True)
while True:
    signal.pause()
"""


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_path_replaces_braces_anywhere_and_is_in_the_environment(node: Node, run: Run) -> None:
    ended = run("exec", "minilm", "--", "sh", "-c", 'echo "$@" $CACHED_MODEL_PATH', "sh", "{}", "--m={}/x{}")
    path = node.model
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{path} --m={path}/x{path} {path}\n", "")


def test_something_else_may_be_replaced(node: Node, run: Run) -> None:
    ended = run("exec", "-I", "MODEL", "minilm", "--", "echo", '{"a": {}}', "MODEL")
    assert ended.stdout == f'{{"a": {{}}}} {node.model}\n'
    assert run("exec", "-I", "", "minilm", "--", "true").returncode == 2


def test_options_of_the_program_are_its_own(run: Run) -> None:
    assert run("exec", "minilm", "--", "echo", "--timeout", "-o").stdout == "--timeout -o\n"


def test_stdin_and_other_open_files_are_the_programs(run: Run) -> None:
    assert run("exec", "minilm", "--", "cat", input="hello").stdout == "hello"
    reading, writing = os.pipe()
    with os.fdopen(reading) as end:
        run("exec", "minilm", "--", "sh", "-c", f"echo there >/dev/fd/{writing}", pass_fds=[writing])
        os.close(writing)
        assert end.read() == "there\n"


def test_no_file_of_ours_is_left_open_in_the_program(run: Run) -> None:
    """Neither a socket of grpc nor anything else."""
    assert run("exec", "minilm", "--", "ls", "/proc/self/fd").stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_its_exit_code_is_ours(run: Run, code: int) -> None:
    assert run("exec", "minilm", "--", "sh", "-c", f"exit {code}").returncode == code


def test_a_signal_that_ends_it_is_128_more(run: Run) -> None:
    assert run("exec", "minilm", "--", "sh", "-c", "kill -KILL $$").returncode == 137


def test_a_program_that_is_not_there(run: Run) -> None:
    ended = run("exec", "minilm", "--", "no-such-program")
    assert ended.returncode == 127
    assert ended.stderr.startswith("error: there is no program 'no-such-program'\nhint: ")


def test_a_program_that_may_not_be_run(tmp_path: Path, run: Run) -> None:
    (tmp_path / "plain").write_text("text")
    ended = run("exec", "minilm", "--", str(tmp_path / "plain"))
    assert ended.returncode == 126
    assert "Permission denied" in ended.stderr


def test_without_the_model_the_program_does_not_start(tmp_path: Path, run: Run) -> None:
    ended = run("exec", "nope", "--", "touch", str(tmp_path / "ran"))
    assert ended.returncode == 3
    assert not (tmp_path / "ran").exists()


def test_the_lease_is_renewed_while_it_lives_and_released_after(node: Node, run: Run) -> None:
    node.ttl = 0.6
    ended = run("exec", "--ttl", "600ms", "minilm", "--", "sleep", "1")
    assert ended.returncode == 0
    assert len(node.renewed) >= 2
    assert node.released == ["lease-of-minilm"]


def test_a_lease_that_is_lost_for_good_is_told(node: Node, begin: Begin) -> None:
    node.ttl = 0.3
    process = begin("exec", "minilm", "--", "cat", stdin=subprocess.PIPE)
    wait_for(lambda: bool(node.renewed))
    node.refused = "Denied"
    node.lost = True
    assert process.stderr is not None
    told = process.stderr.readline()
    assert told == "warning: minilm is no longer held: its files may be evicted\n"
    assert process.poll() is None


def test_it_gets_our_signals_and_we_end_as_it_does(begin: Begin) -> None:
    process = begin("exec", "minilm", "--", sys.executable, "-c", LISTENER)
    assert line(process) == "up"
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        process.send_signal(number)
        assert line(process) == number.name
    process.send_signal(signal.SIGTERM)
    assert line(process) == "SIGTERM"
    assert process.wait(20) == 42


def signals(row: str) -> set[int]:
    """The signals of a line of /proc/PID/status, but for 32 and 33, which belong to glibc."""
    mask = int(row.split()[1], 16)
    return {number for number in range(1, signal.SIGRTMAX) if mask >> (number - 1) & 1} - {32, 33}


def test_it_starts_with_signals_as_they_were(run: Run) -> None:
    """Nothing blocked, nothing ignored: not even what Python ignores for itself."""
    ended = run("exec", "minilm", "--", "grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    blocked, ignored = ended.stdout.splitlines()
    assert (signals(blocked), signals(ignored)) == (set(), set())


def test_what_nohup_ignores_stays_ignored(run: Run, node: Node) -> None:
    command = f"trap '' HUP; exec {CACHECTL} exec minilm -- grep ^SigIgn /proc/self/status"
    told = subprocess.check_output(["sh", "-c", command], env=environment(node), text=True)
    assert signals(told) == {signal.SIGHUP}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_during_the_fetch_ends_us_before_the_program_starts(
    node: Node, begin: Begin, tmp_path: Path, number: signal.Signals
) -> None:
    process = begin("exec", "slow", "--", "touch", str(tmp_path / "ran"))
    assert node.waiting.wait(20)
    process.send_signal(number)
    assert process.wait(20) == 128 + number
    assert node.left.wait(5)
    assert not (tmp_path / "ran").exists()


def test_ctrl_c_during_get_is_quiet(node: Node, begin: Begin) -> None:
    process = begin("get", "slow", "-q")
    assert node.waiting.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, "", "")
    assert node.left.wait(5)


def in_a_pid_namespace() -> bool:
    """Whether this machine lets us be process 1 somewhere."""
    tried = subprocess.run(["unshare", "--pid", "--fork", "--mount-proc", "true"], capture_output=True)
    return tried.returncode == 0


@pytest.mark.skipif(not in_a_pid_namespace(), reason="needs a PID namespace: run as root")
def test_as_process_1_it_reaps_orphans_and_ends_on_term(node: Node) -> None:
    # The program leaves an orphan that ends at once; later it says how many zombies there are.
    script = "(sleep 0.2 &) ; sleep 0.6; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; exec sleep 60"
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [CACHECTL, "exec", "minilm", "--", "sh", "-c", script]
    with subprocess.Popen(command, env=environment(node), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert line(process) == "0"
            (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            os.kill(int(child), signal.SIGTERM)
            assert process.wait(20) == 128 + signal.SIGTERM
        finally:
            process.kill()
