"""The daemon under test: the command `cached`, started as an operator would start it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cached.client import CacheClient, OperatorClient
from cached.core.errors import CachedError

BIN = Path(sys.executable).parent
_START_SECONDS = 30.0

# Short times, so that what waits for a fault to show does not wait long.
_SETTINGS: Mapping[str, Any] = {
    "capacity": "4GiB",
    "min_free": 0,
    "metrics": "127.0.0.1:0",
    "drain_timeout": 5,
    "transfer": {"connections": 8, "connect_timeout": 1, "stall_timeout": 1, "give_up_after": 4},
    "scrub": {"rate": 0},
    "log": {"level": "info", "format": "json"},
}


class DaemonDied(AssertionError):
    """The process ended when it should serve; says with which code, and what it logged."""


class Daemon:
    """`cached` with settings, a catalog, a data directory and sockets of its own, below `home`.

    Starts when entered and serves from then on; killed at the end, and with the process that started it.
    Change `settings`, or write another catalog, and `restart`.
    """

    def __init__(
        self,
        home: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """`models` becomes the catalog; without it there is none. `command` goes before `cached`."""
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.config = home / "cached.yaml"
        self.catalog = home / "catalog.yaml"
        self.log_file = home / "cached.log"
        # Socket paths are limited to 107 bytes, which pytest's directories exceed.
        self.sockets = Path(tempfile.mkdtemp(prefix="cached-"))
        self.settings = merged(
            _SETTINGS, {"root": str(home / "cache"), "sockets": {"directory": str(self.sockets)}}
        )
        if models is not None:
            self.write_catalog(models)
            self.settings["catalog"] = str(self.catalog)
        self.settings = merged(self.settings, settings or {})
        self.environment = {**clean_environment(), **(environment or {})}
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._clients = ExitStack()

    @property
    def root(self) -> Path:
        return Path(self.settings["root"])

    @property
    def pid(self) -> int:
        assert self._process is not None, "the daemon was not started"
        return self._process.pid

    @property
    def process(self) -> psutil.Process:
        return psutil.Process(self.pid)

    @property
    def pods_address(self) -> str:
        return f"unix:{self.sockets}/pods/cached.sock"

    @property
    def operator_address(self) -> str:
        return f"unix:{self.sockets}/operator/cached.sock"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill9()
        self._clients.close()
        shutil.rmtree(self.sockets, ignore_errors=True)
        remove_tree(self.home / "cache")

    def start(self) -> None:
        """Start and wait until it serves. Raises DaemonDied when it ends instead."""
        self.launch()
        self.wait_until_serving()

    def launch(self) -> None:
        """Start, and wait for nothing."""
        assert self._process is None or self._process.poll() is not None, "the daemon runs already"
        self.config.write_text(yaml.safe_dump(self.settings))
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                # No preexec_fn: it would fork this process, whose gRPC threads do not bear that.
                ["setpriv", "--pdeathsig", "KILL", *self._command, BIN / "cached", "--config", self.config],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_serving(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                code = self._process.returncode if self._process else None
                raise DaemonDied(f"cached ended with {code} instead of serving:\n{self.log[-4000:]}")
            if self._listens() and self._serves():
                return
            time.sleep(0.01)
        raise DaemonDied(f"cached did not serve within {_START_SECONDS:.0f} s:\n{self.log[-4000:]}")

    def _listens(self) -> bool:
        """Asked before gRPC is: its own pauses between attempts are long."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(self.operator_address.removeprefix("unix:"))
            except OSError:
                return False
        return True

    def _serves(self) -> bool:
        with OperatorClient(self.operator_address) as operator:
            try:
                return operator.serving(timeout=2)
            except CachedError:
                return False

    def kill9(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 20.0) -> int:
        """Wait for its end; returns the exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def terminate(self) -> int:
        """SIGTERM, and wait for the end; returns the exit code."""
        self.signal()
        return self.wait()

    def restart(self) -> None:
        """SIGTERM if it runs, then start anew with the settings and the catalog as they are now."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()
        self.start()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def fate(self) -> str:
        """Whether it runs, or how it ended."""
        if self._process is None:
            return "never started"
        code = self._process.poll()
        return "running" if code is None else f"ended with {code}"

    def write_catalog(self, models: Mapping[str, Any]) -> None:
        """Put a new catalog into the place of the old one, in one step."""
        draft = self.home / ".catalog.draft"
        draft.write_text(yaml.safe_dump({"models": dict(models)}))
        draft.rename(self.catalog)

    def client(self, **more: Any) -> CacheClient:
        """A pod's client. It waits for no daemon that is not there."""
        return self._clients.enter_context(CacheClient(self.pods_address, **{"wait": 0.0, **more}))

    def operator(self) -> OperatorClient:
        return self._clients.enter_context(OperatorClient(self.operator_address))

    def cachectl(
        self, *arguments: str, code: int | None = 0, seconds: float = 30
    ) -> subprocess.CompletedProcess[str]:
        """Run `cachectl` at the operators' socket; asserts its exit code, unless `code` is None."""
        done = subprocess.run(
            [BIN / "cachectl", *arguments],
            env=self.environment | {"CACHED_ADDRESS": self.operator_address},
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert code in (None, done.returncode), (
            f"cachectl {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done

    def metrics_text(self) -> str:
        """`/metrics`, as Prometheus would read it."""
        port = re.findall(r'"metrics are served".*?"port": (\d+)', self.log)[-1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        return text

    def metrics(self) -> dict[str, float]:
        """All samples: `name{label="value"}` to number."""
        samples = {}
        for family in text_string_to_metric_families(self.metrics_text()):
            for sample in family.samples:
                labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
                samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
        return samples

    def metric(self, name: str) -> float:
        """One sample, 0 when nothing was counted yet."""
        return self.metrics().get(name, 0.0)

    @property
    def log(self) -> str:
        """All that it wrote so far, over all restarts."""
        return self.log_file.read_text() if self.log_file.exists() else ""

    def logged(self, message: str) -> list[dict[str, Any]]:
        """The lines of the log with exactly this message."""
        lines = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in lines if line["message"] == message]


def clean_environment() -> dict[str, str]:
    """This process's environment without what would change a daemon's or a client's mind."""
    foreign = re.compile(r"CACHED_|AWS_|NOTIFY_SOCKET|WATCHDOG_|XDG_CACHE_HOME|.*_PROXY$", re.IGNORECASE)
    return {name: value for name, value in os.environ.items() if not foreign.match(name)}


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`below` with `above` laid over it, section by section."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        if isinstance(under, Mapping) and isinstance(value, Mapping):
            result[key] = merged(under, value)
        else:
            result[key] = value
    return result


def remove_tree(path: Path) -> None:
    """Delete a data directory; published trees are read-only, which hinders anybody but root."""
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o700)
    shutil.rmtree(path, ignore_errors=True)
