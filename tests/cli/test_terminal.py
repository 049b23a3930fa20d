"""What people see: bars, colours, and Ctrl-C."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from functools import partial

import pytest
from rich.console import Console

from cached.cli import bars
from cached.core.progress import Progress
from tests.cli.node import IMAGE, Node
from tests.cli.terminal import Terminal
from tests.cli.test_exec import LISTENER

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def frames(shown: str) -> list[str]:
    """Lines as drawn one over another, without escapes."""
    return [line.strip() for line in re.split(r"[\r\n]+", ESCAPE.sub("", shown)) if line.strip()]


def test_a_bar_shows_bytes_speed_and_time_left(node: Node) -> None:
    node.step = 0.3
    with Terminal(node, "get", "cold", stdout=subprocess.DEVNULL) as terminal:
        assert terminal.end() == 0
    drawn = frames(terminal.shown)
    assert any(re.match(r"cold .*━.* 50% 50\.0 MiB/100 MiB +120 MiB/s ETA 3\.0s$", line) for line in drawn), (
        drawn
    )
    assert re.search(r"100% 100 MiB/100 MiB +86\.7 MiB ready in [\d.]+s$", drawn[-1])


def test_a_long_name_leaves_room_for_the_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    narrow = partial(Console, file=out, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(bars, "Console", lambda stderr: narrow())
    drawn = bars.Bars()
    drawn.update("team/" + "x" * 80, Progress(800 << 30, 311 << 30, rate=2 << 30, eta=250))
    drawn.close()
    assert re.search(r"team/x+… .* 38% 311 GiB/800 GiB +2\.0 GiB/s ETA 4m10s", frames(out.getvalue())[-1])


def test_the_terminal_is_as_it_was(node: Node) -> None:
    """The cursor is hidden while bars are drawn, and shown again at the end."""
    with Terminal(node, "--timeout", "1s", "get", "slow") as terminal:
        assert terminal.end() == 8
    assert terminal.shown.count("\x1b[?25l") == terminal.shown.count("\x1b[?25h") == 1
    assert frames(terminal.shown)[-2].startswith("error: slow is not ready after 1 seconds")


def test_several_models_have_a_bar_each(node: Node) -> None:
    node.step = 0.2
    with Terminal(node, "warm", "cold", "minilm", "fail-NoSpace") as terminal:
        assert terminal.end() == 5
    drawn = frames(terminal.shown)
    assert any(line.startswith("cold ━") and "warm after" in line for line in drawn)
    assert "error: fail-NoSpace: NoSpace happened" in drawn
    rows = [line.split()[:2] for line in drawn[-3:]]
    assert rows == [["cold", "warm"], ["minilm", "warm"], ["fail-NoSpace", "failed"]]


def test_an_image_is_fetched_and_then_unpacked(node: Node) -> None:
    node.step = 0.3
    with Terminal(node, "warm", "--image", IMAGE.removeprefix("oci://"), "--pull") as terminal:
        assert terminal.end() == 0
    drawn = frames(terminal.shown)
    bars = [line for line in drawn if "━" in line]
    assert any("120 MiB/s" in line for line in bars)
    assert any(re.search(r"100 MiB/100 MiB +unpacking$", line) for line in bars), bars
    assert re.search(r"100% 100 MiB/100 MiB +86\.7 MiB warm after", bars[-1])


def test_an_image_that_is_here_is_unpacked_all_the_same(node: Node) -> None:
    node.step = 0.3
    with Terminal(node, "warm", "--image", "redis:7", "--pull") as terminal:
        assert terminal.end() == 0
    bars = [line for line in frames(terminal.shown) if "━" in line]
    assert any(line.endswith("unpacking") for line in bars), bars
    assert re.search(r"86\.7 MiB warm after [\d.]+s$", bars[-1])


def test_a_warm_model_draws_nothing(node: Node) -> None:
    with Terminal(node, "get", "minilm") as terminal:
        assert terminal.end() == 0
    assert terminal.shown == f"{node.model}\r\n"


def test_no_color_is_respected(node: Node) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*m")
    node.step = 0.1
    for args in (["get", "cold"], ["get", "nope"]):
        with Terminal(node, *args) as terminal:
            terminal.end()
        assert re.search(r"\x1b\[[0-9;]*3[0-9]|\x1b\[38", terminal.shown)
        with Terminal(node, *args, NO_COLOR="1") as terminal:
            terminal.end()
        codes = {code for found in colour.findall(terminal.shown) for code in found[2:-1].split(";")}
        assert codes <= {"", "0", "1", "2"}, codes


def test_a_dumb_terminal_gets_lines(node: Node) -> None:
    with Terminal(node, "get", "cold", TERM="dumb") as terminal:
        terminal.end()
    assert "\x1b" not in terminal.shown
    assert terminal.shown.startswith("cold 0% 0 B of 100 MiB")


def test_ctrl_c_ends_a_get_and_gives_the_cursor_back(node: Node) -> None:
    with Terminal(node, "get", "slow") as terminal:
        terminal.until("100%")
        assert node.waiting.wait(20)
        terminal.type("\x03")
        assert terminal.end() == 130
    assert terminal.shown.endswith("\x1b[?25h")
    assert "Traceback" not in terminal.shown
    assert node.left.wait(5)


def test_ctrl_c_reaches_the_program_of_exec_once(node: Node) -> None:
    """The terminal sends it to the program already; many end roughly at the second."""
    with Terminal(node, "exec", "minilm", "--", sys.executable, "-c", LISTENER) as terminal:
        terminal.until("up\r\n")
        terminal.type("\x03")
        terminal.until("SIGINT\r\n")
        terminal.type("\x1c")
        terminal.until("SIGQUIT\r\n")
        terminal.process.terminate()
        assert terminal.end() == 42
    assert frames(terminal.shown) == ["up", "^CSIGINT", "^\\SIGQUIT", "SIGTERM"]
