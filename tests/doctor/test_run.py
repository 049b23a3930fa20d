"""Checks that hang, fail, die or talk too much: each is a finding, and none stands in another's way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cached.cli.doctor.checks import CHECKS
from cached.cli.doctor.scene import View
from cached.cli.finding import Finding, worst

PRELUDE = """
import json, math, os, signal, sys, threading, time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from cached.cli.doctor.check import Check, Skipped
from cached.cli.doctor.run import examine
from cached.cli.doctor.scene import Scene, View
from cached.cli.finding import Finding
from cached.client.errors import Unreachable
from cached.core.errors import NotFound

def well(scene): yield Finding("ok", "well", "fine")
def hangs(scene): yield Finding("ok", "first", "seen"); time.sleep(60)
def deaf(scene): signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)
def raises(scene): raise RuntimeError("hunter2 is the password"); yield
def refused(scene): raise NotFound("no such thing", hint="make it"); yield
def bare(scene): raise NotFound("no such thing"); yield
def skips(scene): raise Skipped("not here"); yield
def away(scene): raise Unreachable("nobody"); yield
def forbidden(scene): raise PermissionError(13, "no", "/secret"); yield
def disk(scene): raise OSError(5, "Input/output error", "/data"); yield
def dies(scene): yield Finding("ok", "before", "seen"); os.kill(os.getpid(), signal.SIGSEGV)
def exits(scene): os._exit(3); yield
def quits(scene): sys.exit(4); yield
def talks(scene): print("noise"); print("noise", file=sys.stderr); yield from (
    Finding("ok", str(n), "x" * 1000) for n in range(1000))
def threads(scene):
    threading.Thread(target=time.sleep, args=(60,)).start()
    yield Finding("ok", "thread", "left behind")

def run(*checks, most=math.inf):
    began = time.monotonic()
    for each in examine(checks, Scene(View.NODE, Path("/nowhere")), most):
        seconds, findings = time.monotonic() - began, [asdict(each) for each in each.findings]
        print(json.dumps([each.name, seconds, findings]), flush=True)
"""


def run(script: str) -> list[tuple[str, float, list[dict[str, Any]]]]:
    """What a process of its own tells of its checks: name, seconds since the start, findings."""
    done = subprocess.run(
        [sys.executable, "-c", f"{PRELUDE}\n{script}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


def test_each_end_of_a_check_is_a_finding() -> None:
    names = "refused bare skips away forbidden disk raises dies exits quits well"
    found = run(f"run(*(Check(name, globals()[name]) for name in {names.split()!r}))")
    assert [name for name, *_ in found] == names.split()
    last = {name: findings[-1] for name, _, findings in found}
    levels = {name: finding["level"] for name, finding in last.items()}
    skipped = {"skips", "away", "forbidden"}
    assert levels == {n: "skipped" if n in skipped else "ok" if n == "well" else "problem" for n in levels}
    assert (last["refused"]["message"], last["refused"]["hint"]) == ("no such thing", "make it")
    assert all(each["hint"] for each in last.values() if each["level"] == "problem")
    assert "/secret" in last["forbidden"]["message"]
    assert "as root" in last["forbidden"]["message"]
    assert last["disk"]["message"] == "/data: Input/output error"
    assert "SIGSEGV" in last["dies"]["message"]
    assert "ended with 3" in last["exits"]["message"]
    assert "ended with 1" in last["quits"]["message"]
    assert [len(findings) for name, _, findings in found if name == "dies"] == [2]


def test_what_an_exception_says_is_not_told() -> None:
    [(_, _, [finding])] = run("run(Check('raises', raises))")
    assert finding["message"].startswith("the check itself failed: RuntimeError at <string>:")
    assert "hunter2" not in str(finding)


def test_one_that_hangs_holds_up_only_what_is_told_after_it() -> None:
    found = run(
        "run(Check('a', well), Check('h', hangs, 0.6, ('the disk is gone', 'see dmesg')),"
        " Check('d', deaf, 0.3), Check('b', well))"
    )
    assert [name for name, *_ in found] == ["a", "h", "d", "b"]
    (_, soon, _), (_, late, hung), (_, _, deaf), (_, after, _) = found
    assert soon < late
    assert after - late < 0.3, "all run at the same time"
    assert [finding["message"] for finding in hung] == ["seen", "no answer within 0.6 s: the disk is gone"]
    assert hung[1]["hint"] == "see dmesg"
    assert deaf[0]["message"] == "no answer within 0.3 s"
    assert deaf[0]["hint"]


def test_a_time_of_the_callers_is_shorter_still() -> None:
    [(_, _, [finding])] = run("run(Check('d', deaf, 20), most=0.2)")
    assert finding["message"] == "no answer within 0.2 s"


def test_much_is_read_and_noise_is_not_told() -> None:
    [(_, _, slow), (_, _, talked)] = run("run(Check('h', hangs, 1), Check('t', talks))")
    assert len(slow) == 2
    assert [finding["subject"] for finding in talked] == [str(number) for number in range(1000)]


def test_a_thread_that_a_check_leaves_behind_ends_with_it() -> None:
    began = time.monotonic()
    [(_, _, [finding])] = run("run(Check('t', threads))")
    assert finding["level"] == "ok"
    assert time.monotonic() - began < 20


def test_nothing_is_left_running_when_the_caller_leaves() -> None:
    script = (
        "pids = []\n"
        "begun = examine([Check('w', well), Check('d', deaf, 30)], Scene(View.NODE, Path('/')), math.inf)\n"
        "next(begun)\n"
        "begun.close()\n"
        "time.sleep(0.2)\n"
        "left = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "states = [open(f'/proc/{pid}/stat').read().split()[2] for pid in left]\n"
        "print(json.dumps(['left', 0, states]))"
    )
    [(_, _, states)] = run(script)
    assert set(states) <= {"Z"}


@pytest.mark.parametrize(
    "levels", [("ok", "skipped"), ("skipped",), ("warning", "ok"), ("problem", "warning"), ()]
)
def test_the_gravest_counts(levels: tuple[Any, ...]) -> None:
    wanted = {("ok", "skipped"): "ok", ("skipped",): "skipped", ("warning", "ok"): "warning", (): "ok"}
    assert worst(Finding(level, "", "") for level in levels) == wanted.get(levels, "problem")


def test_the_page_on_operations_names_every_check() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    section = text.partition("## cachectl doctor")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert re.findall(r"`(\w+)`", " ".join(rows)) == [check.name for check in CHECKS[View.NODE]]
