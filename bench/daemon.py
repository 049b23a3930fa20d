"""The real daemon, as a process of its own."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from bench.process import REPOSITORY, Failed, environment, peak_rss

_READY_SECONDS = 120.0
_STOP_SECONDS = 40.0
CACHED = Path(sys.executable).with_name("cached")
CACHECTL = Path(sys.executable).with_name("cachectl")


class Daemon:
    """`cached` on the data directory `root` while the `with` block runs.

    start_seconds: from the start of the process until it said that it serves. Sockets and settings lie in a
    short directory of their own, since the path of a socket has at most 107 bytes.
    """

    def __init__(
        self, root: Path, settings: Mapping[str, Any], variables: Mapping[str, str] | None = None
    ) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="cached-")
        home = Path(self._home.name)
        self.address = f"unix:{home}/pods/cached.sock"
        self.operators = f"unix:{home}/operator/cached.sock"
        self.start_seconds = 0.0
        self._told = str(home / "told")
        self._log = home / "log"
        self._config = home / "config.yaml"
        whole = {"root": str(root), "sockets": {"directory": str(home)}, **settings}
        self._config.write_text(json.dumps(whole))  # JSON is YAML, too
        self._environment = environment({**(variables or {}), "NOTIFY_SOCKET": self._told})

    def __enter__(self) -> Self:
        """Raises Failed with the daemon's log when it does not come up."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told, self._log.open("wb") as log:
            told.bind(self._told)
            told.settimeout(0.1)
            began = time.perf_counter()
            self._process = subprocess.Popen(
                [CACHED, "--config", self._config],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            while not _says_ready(told):
                late = time.perf_counter() - began > _READY_SECONDS
                if late or self._process.poll() is not None:
                    self._process.kill()
                    self._process.wait()
                    raise Failed(f"the daemon did not start: {self._log.read_text()[-2000:]}")
            self.start_seconds = time.perf_counter() - began
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Failed):
            error.add_note(f"the daemon's log: {self._log.read_text()[-2000:]}")
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._home.cleanup()

    def cpu(self) -> float:
        """CPU seconds of user and system so far."""
        times = psutil.Process(self._process.pid).cpu_times()
        return times.user + times.system

    def rss(self) -> int:
        """Bytes resident now."""
        resident: int = psutil.Process(self._process.pid).memory_info().rss
        return resident

    def peak_rss(self) -> int:
        """Bytes resident at most so far."""
        return peak_rss(self._process.pid)


def _says_ready(told: socket.socket) -> bool:
    try:
        return b"READY=1" in told.recv(4096)
    except TimeoutError:
        return False
