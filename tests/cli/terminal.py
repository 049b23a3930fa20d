"""A terminal for cachectl: what it shows there, and what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from types import TracebackType

from tests.cli.conftest import CACHECTL, environment
from tests.cli.node import Node


class Terminal:
    """Runs cachectl as the foreground job of a terminal of 100 columns, the output on it or on a pipe."""

    def __init__(self, node: Node, *args: str, stdout: int | None = None, **env: str) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", CACHECTL, *args],
            env=environment(node, **{"TERM": "xterm-256color"} | env),
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.process:
            self.process.kill()
        os.close(self._ours)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str) -> None:
        """Read until `text` is shown."""
        while text not in self.shown:
            assert self._read(), f"{text!r} never came: {self.shown!r}"

    def end(self) -> int:
        """Read the rest; the exit code."""
        while self._read():
            pass
        return self.process.wait(20)

    def _read(self) -> bool:
        deadline = time.monotonic() + 20
        assert select.select([self._ours], [], [], deadline - time.monotonic())[0], self.shown
        try:
            some = os.read(self._ours, 65536)
        except OSError:  # EIO: nobody has the other side open
            return False
        self.shown += some.decode(errors="replace")
        return bool(some)
