"""A real Kubernetes API server, built from its Go module, on etcd from the Debian package `etcd-server`.

Nothing else of Kubernetes runs: no controllers, no nodes. The first build takes minutes on two cores; Go
keeps what it compiled, so that the next takes half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.ports import free_ports

MODULE = Path(__file__).with_name("kube")

_READY_SECONDS = 60.0


def missing() -> str:
    """What is needed and not installed; "" when all is there."""
    return " and ".join(tool for tool in ("go", "etcd") if shutil.which(tool) is None)


def build(directory: Path) -> Path:
    """The server's program, in `directory`. Raises CalledProcessError, with Go's words in `stderr`."""
    program = directory / "kube-apiserver"
    command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(program)]
    subprocess.run(
        [*command, "k8s.io/kubernetes/cmd/kube-apiserver"],
        cwd=MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        capture_output=True,
        text=True,
        check=True,
    )
    return program


class Kubernetes:
    """The server and its etcd, on loopback, while the `with` block lasts; `ask` speaks for who may all."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self.port, self._etcd_port, peer_port = free_ports(3)
        self._etcd_peer = f"http://127.0.0.1:{peer_port}"
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def ca(self) -> Path:
        """Its certificate, which it signed itself."""
        return self._directory / "certs" / "apiserver.crt"

    def __enter__(self) -> Self:
        key = self._directory / "accounts.key"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        (self._directory / "tokens.csv").write_text("administrator,admin,1,system:masters\n")
        client = f"http://127.0.0.1:{self._etcd_port}"
        self._etcd = self._run(
            "etcd",
            f"--data-dir={self._directory / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={self._etcd_peer}",
            "--unsafe-no-fsync",
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()

    def start(self) -> None:
        """Returns once it is ready, roles and all."""
        key = self._directory / "accounts.key"
        self._server = self._run(
            str(self._program),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            f"--cert-dir={self._directory / 'certs'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={key}",
            f"--service-account-signing-key-file={key}",
            f"--token-auth-file={self._directory / 'tokens.csv'}",
            "--authorization-mode=RBAC",
            "--endpoint-reconciler-type=none",
            "--disable-admission-plugins=ServiceAccount",
        )
        deadline = time.monotonic() + _READY_SECONDS
        while time.monotonic() < deadline:
            try:
                self.ask("GET", "/readyz")
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(
            f"the API server does not become ready; see {self._directory / 'kube-apiserver.log'}"
        )

    def kill(self) -> None:
        """Without a word to anybody. etcd goes on."""
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer. Raises OSError, of which HTTPError is one."""
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": "Bearer administrator", "Content-Type": "application/json"},
            method=method,
        )
        trust = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(request, context=trust, timeout=30) as answer:
            text = answer.read()
        return json.loads(text) if text[:1] == b"{" else text

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        log = self._directory / f"{Path(command[0]).name}.log"
        with log.open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output)
