"""Progress as lines, and which display is chosen."""

from __future__ import annotations

import io
import re

from cached.cli.figures import describe
from cached.cli.progress import LINE_EVERY, Lines
from cached.core.progress import Progress
from tests.cli.conftest import Run
from tests.cli.node import MIB, Node


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def at(done: int) -> Progress:
    return Progress(total=100 * MIB, done=done * MIB, from_source=done * MIB, rate=10 * MIB, eta=3.0)


def test_a_line_tells_how_far() -> None:
    assert describe(at(45)) == "45% 45.0 MiB of 100 MiB 10.0 MiB/s ETA 3.0s"


def test_a_line_tells_what_came_from_peers() -> None:
    progress = Progress(total=100, done=40, found=0, from_source=10, from_peers=30)
    assert describe(progress) == "40% 40 B of 100 B (75% from peers)"


def test_all_but_a_byte_is_not_100_percent() -> None:
    assert describe(Progress(total=1000, done=999)).startswith("99% ")


def test_an_empty_tree_is_complete() -> None:
    assert describe(Progress(total=0, done=0)) == "100% 0 B of 0 B"


def test_lines_come_at_most_every_few_seconds() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    for done in range(100):
        lines.update("minilm", at(done))
        clock.now += 0.125
    lines.finish("minilm", "ready", well=True)
    told = out.getvalue().splitlines()
    assert [line.split()[1] for line in told] == ["0%", f"{int(LINE_EVERY * 8)}%", "80%", "ready"]


def test_each_model_has_its_own_lines() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    lines.update("a", at(1))
    lines.update("b", at(2))
    assert [line.split()[0] for line in out.getvalue().splitlines()] == ["a", "b"]


def test_what_has_no_bytes_is_told_at_once_and_so_is_its_end() -> None:
    out, clock = io.StringIO(), Clock()
    lines = Lines(out, clock)
    lines.tell("oci://a/b:1", "unpacking")
    lines.finish("oci://a/b:1", "warm", well=True)
    assert out.getvalue() == "oci://a/b:1 unpacking\noci://a/b:1 warm\n"


def test_a_warm_model_is_no_news() -> None:
    out = io.StringIO()
    Lines(out, Clock()).finish("minilm", "ready", well=True)
    assert out.getvalue() == ""


def test_without_a_terminal_lines_go_to_stderr_and_the_path_alone_to_stdout(node: Node, run: Run) -> None:
    ended = run("get", "cold")
    assert ended.stdout == f"{node.model}\n"
    first, last = ended.stderr.splitlines()
    assert first.startswith("cold 0% 0 B of 100 MiB")
    assert re.fullmatch(r"cold 86\.7 MiB ready in [\d.]+s", last)


def test_quiet_says_nothing(node: Node, run: Run) -> None:
    for flag in ("-q", "--no-progress"):
        ended = run("get", "cold", flag)
        assert (ended.stdout, ended.stderr) == (f"{node.model}\n", "")
