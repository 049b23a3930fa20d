"""A scripted daemon, and cachectl: in this process where that is enough, the real program where not."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cached.cli.main import cli
from tests.cli.node import Node

CACHECTL = str(Path(sys.executable).parent / "cachectl")

Ask = Callable[..., Result]
Run = Callable[..., subprocess.CompletedProcess[str]]
Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def node() -> Iterator[Node]:
    # Not tmp_path: the path of a socket has room for 107 bytes.
    with tempfile.TemporaryDirectory(prefix="node-") as directory, Node(Path(directory)) as node:
        yield node


@pytest.fixture
def ask(node: Node) -> Ask:
    """cachectl in this process, as its entry point calls it."""

    def run(*args: str) -> Result:
        return CliRunner().invoke(cli, args, prog_name="cachectl", env={"CACHED_ADDRESS": node.address})

    return run


def environment(node: Node, **more: str) -> dict[str, str]:
    """What the real program gets: nothing that changes how it looks, unless a test says so."""
    left = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    return left | {"CACHED_ADDRESS": node.address} | more


@pytest.fixture
def run(node: Node) -> Run:
    """The real program, until it ends."""

    def run(*args: str, env: dict[str, str] | None = None, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [CACHECTL, *args],
            env=environment(node, **(env or {})),
            capture_output=True,
            text=True,
            timeout=60,
            **more,
        )

    return run


@pytest.fixture
def begin(node: Node) -> Iterator[Begin]:
    """The real program, left running; killed at the end of the test if it still is."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*args: str, **more: Any) -> subprocess.Popen[str]:
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        process = subprocess.Popen([CACHECTL, *args], env=environment(node), text=True, **more)
        begun.append(process)
        return process

    yield begin
    for process in begun:
        with process:
            process.kill()
