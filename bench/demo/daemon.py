"""The daemon of the demo: one process, configured for the demo's S3 server."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

BIN = Path(sys.executable).parent
_START_SECONDS = 20


class Daemon:
    """`cached` while the `with` block runs; SIGTERM at its end."""

    def __init__(self, home: Path, sockets: Path, endpoint: str, keys: tuple[str, str], port: int) -> None:
        self.root = home / "cache"
        self.address = f"unix:{sockets}/operator/cached.sock"
        self._metrics = f"http://127.0.0.1:{port}/metrics"
        self._log = home / "cached.log"
        self._config = home / "cached.yaml"
        self._environment = {
            **os.environ,
            "AWS_ACCESS_KEY_ID": keys[0],
            "AWS_SECRET_ACCESS_KEY": keys[1],
            "CACHED_ADDRESS": self.address,
        }
        catalog = home / "catalog.yaml"
        catalog.write_text(
            yaml.safe_dump(
                {
                    "models": {
                        "minilm": {"source": "s3://models/minilm", "revision": "v1"},
                        "demo-1b": {
                            "source": "s3://models/demo-1b",
                            "revision": "v1",
                            "include": ["*.safetensors", "*.json"],
                        },
                    }
                }
            )
        )
        self._config.write_text(
            yaml.safe_dump(
                {
                    "root": str(self.root),
                    "catalog": str(catalog),
                    "metrics": f"127.0.0.1:{port}",
                    "sockets": {"directory": str(sockets)},
                    "sources": {"s3": {"endpoint": endpoint, "region": "us-east-1", "addressing": "path"}},
                }
            )
        )

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BIN / "cached", "--config", self._config], stdout=log, stderr=log, env=self._environment
            )
        try:
            self.cachectl("health", "--wait", "--timeout", str(_START_SECONDS), quiet=True)
        except subprocess.CalledProcessError:
            self._stop()
            raise SystemExit(f"the daemon did not start:\n{self._log.read_text()}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cachectl(self, *arguments: str, quiet: bool = False) -> tuple[str, float]:
        """Run `cachectl`, its progress on the terminal. Returns what it printed, and the seconds it took."""
        if not quiet:
            print(f"\n$ cachectl {' '.join(arguments)}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [BIN / "cachectl", *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        if not quiet:
            print(done.stdout, end="", flush=True)
        return done.stdout.strip(), time.monotonic() - began

    def received(self) -> int:
        """Bytes that the daemon has received from S3 so far, by its own metric."""
        with urllib.request.urlopen(self._metrics, timeout=5) as answer:
            for line in answer.read().decode().splitlines():
                if line.startswith('cached_received_bytes_total{origin="s3"}'):
                    return int(float(line.split()[-1]))
        return 0
