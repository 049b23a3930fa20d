"""A real API server with etcd, on loopback, for as long as a test needs one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.daemonset.built import Object
from tests.daemonset.kubernetes import VERSION

BUILT = Path(__file__).parents[2] / ".kubernetes"
_PROGRAM = BUILT / f"kube-apiserver-{VERSION}"
_ADMIN = "of-the-admin"


def why_not() -> str | None:
    """Why there can be no API server here; None when there can."""
    if not _PROGRAM.exists():
        return "kube-apiserver is not built: make test-cluster builds it, where there is Go"
    return None if shutil.which("etcd") else "etcd is not installed (apt: etcd-server)"


class ApiServer:
    """Answers once entered. RBAC is on, and so is admission as clusters have it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        etcd, peer, self._port = _free_ports(3)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "sa.key").write_bytes(pem)
        (directory / "tokens.csv").write_text(f'{_ADMIN},admin,admin,"system:masters"\n')
        here = "http://127.0.0.1"
        self._commands: tuple[list[str], list[str]] = (
            [
                "etcd",
                f"--data-dir={directory / 'etcd'}",
                f"--listen-client-urls={here}:{etcd}",
                f"--advertise-client-urls={here}:{etcd}",
                f"--listen-peer-urls={here}:{peer}",
                f"--initial-advertise-peer-urls={here}:{peer}",
                f"--initial-cluster=default={here}:{peer}",
            ],
            [
                str(_PROGRAM),
                f"--etcd-servers={here}:{etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self._port}",
                f"--cert-dir={directory / 'certs'}",
                "--service-cluster-ip-range=10.96.0.0/16",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={directory / 'sa.key'}",
                f"--service-account-signing-key-file={directory / 'sa.key'}",
                f"--token-auth-file={directory / 'tokens.csv'}",
                "--authorization-mode=Node,RBAC",
                "--allow-privileged=true",
                "--enable-admission-plugins=NodeRestriction",
                # There is no controller that would make the accounts that it asks for.
                "--disable-admission-plugins=ServiceAccount",
            ],
        )

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._port}"

    @property
    def ca(self) -> Path:
        """Its certificate, which it signed itself."""
        return self._directory / "certs" / "apiserver.crt"

    def __enter__(self) -> Self:
        self._processes = []
        with (self._directory / "log").open("w") as log:
            for command in self._commands:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        end = time.monotonic() + 60
        while self.kubectl("get", "--raw=/readyz", check=False).returncode != 0:
            assert time.monotonic() < end, (self._directory / "log").read_text()[-2000:]
            time.sleep(0.3)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(20)

    def kubectl(
        self, *arguments: str, token: str = _ADMIN, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as whoever has the token."""
        program = Path(sysconfig.get_path("scripts")) / "kubectl"
        server = f"--server={self.url}"
        done = subprocess.run(
            [
                program,
                "--kubeconfig=/dev/null",
                "--insecure-skip-tls-verify",
                server,
                f"--token={token}",
                *arguments,
            ],
            input=given,
            env={"PATH": os.environ["PATH"], "HOME": str(self._directory)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    def apply(self, objects: list[Object], *flags: str, check: bool = True) -> str:
        """Apply them, every field known. Returns what was said against it."""
        text = yaml.safe_dump_all(objects)
        flags = ("--server-side", "--force-conflicts", "--validate=strict", "-f", "-", *flags)
        return self.kubectl("apply", *flags, given=text, check=check).stderr

    def get(self, *what: str) -> dict[str, Any]:
        """One object."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json").stdout)
        return found


def _free_ports(count: int) -> list[int]:
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in listening]
    for each in listening:
        each.close()
    return ports
