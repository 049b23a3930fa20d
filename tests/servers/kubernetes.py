"""A real Kubernetes API server, on etcd from the Debian package `etcd-server`.

It and kubelet are built from the Go module beside this file, since no registry has them as binaries: some
minutes, once. Controllers and a scheduler there are none.

python -m tests.servers.kubernetes
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.servers.ports import free_ports

API_SERVER: Final = "kube-apiserver"
KUBELET: Final = "kubelet"

_MODULE: Final = Path(__file__).with_name("kube")
_BUILT: Final = Path(__file__).parents[2] / ".kubernetes"
_ADMIN: Final = "of-the-admin"
_READY_SECONDS: Final = 60.0


def build() -> None:
    """Have both programs. Raises CalledProcessError."""
    query = ["go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes"]
    asked = subprocess.run(query, cwd=_MODULE, capture_output=True, text=True, check=True)
    version = asked.stdout.strip()
    major, minor, _ = version.removeprefix("v").split(".")
    names = {"gitVersion": version, "gitMajor": major, "gitMinor": minor}
    stamps = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in names.items())
    _BUILT.mkdir(exist_ok=True)
    subprocess.run(
        ["go", "build", "-mod=readonly", "-trimpath", "-ldflags", f"-s -w {stamps}", "-o", f"{_BUILT}/"]
        + [f"k8s.io/kubernetes/cmd/{name}" for name in (API_SERVER, KUBELET)],
        cwd=_MODULE,
        env={**os.environ, "CGO_ENABLED": "0"},
        check=True,
    )


def program(name: str) -> Path:
    return _BUILT / name


def lacking(*names: str) -> str:
    """What of these is not built, or not installed; "" when nothing."""
    if missing := [name for name in names if not program(name).exists()]:
        return f"{' and '.join(missing)}: make test-cluster builds them, where there is Go"
    return "" if shutil.which("etcd") else "etcd is not installed (apt: etcd-server)"


class Kubernetes:
    """The API server and its etcd, as long as the `with` block lasts.

    RBAC is on, and admission as clusters have it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        command: Sequence[str] = (),
        accounts: bool = False,
        tokens: Sequence[tuple[str, str, str]] = (),
    ) -> None:
        """address: where it listens. command: what goes before, such as that of a network namespace.

        accounts: whether pods have accounts' tokens mounted; then accounts and `kube-root-ca.crt` are to be
        made, as no controller does. tokens: who else may come: token, user, group.
        """
        self._directory = directory
        self._command = list(command)
        etcd, peer, port = free_ports(3)
        self.url = f"https://{address}:{port}"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (directory / "accounts.key").write_bytes(pem)
        everybody = [(_ADMIN, "admin", "system:masters"), *tokens]
        (directory / "tokens.csv").write_text(
            "".join(f"{token},{who},{who},{of}\n" for token, who, of in everybody)
        )
        here = "http://127.0.0.1"
        self._etcd = [
            "etcd",
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={here}:{etcd}",
            f"--advertise-client-urls={here}:{etcd}",
            f"--listen-peer-urls={here}:{peer}",
            f"--initial-advertise-peer-urls={here}:{peer}",
            f"--initial-cluster=default={here}:{peer}",
            "--unsafe-no-fsync",
        ]
        self._server = [
            str(program(API_SERVER)),
            f"--etcd-servers={here}:{etcd}",
            f"--bind-address={address}",
            f"--advertise-address={address}",
            f"--secure-port={port}",
            f"--cert-dir={directory / 'certs'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={directory / 'accounts.key'}",
            f"--service-account-signing-key-file={directory / 'accounts.key'}",
            f"--token-auth-file={directory / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",
            "--enable-admission-plugins=NodeRestriction",
            *([] if accounts else ["--disable-admission-plugins=ServiceAccount"]),
        ]
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def ca(self) -> Path:
        """Its certificate, which it signed itself."""
        return self._directory / "certs" / "apiserver.crt"

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        self._run("etcd", self._etcd)
        try:
            self.start()
        except BaseException:
            self._kill("etcd")
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._kill("etcd")

    def start(self) -> None:
        """Returns once it is ready, roles and all."""
        self._run(API_SERVER, self._server)
        end = time.monotonic() + _READY_SECONDS
        while self.kubectl("get", "--raw=/readyz", check=False).returncode:
            if time.monotonic() > end:
                self.kill()
                log = (self._directory / f"{API_SERVER}.log").read_text()
                raise RuntimeError(f"the API server does not become ready:\n{log[-2000:]}")
            time.sleep(0.2)

    def kill(self) -> None:
        """Without a word to anybody. etcd goes on."""
        self._kill(API_SERVER)

    def kubectl(
        self, *arguments: str, token: str = _ADMIN, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl as whoever has the token, within a minute."""
        done = subprocess.run(
            [
                *self._command,
                str(Path(sysconfig.get_path("scripts")) / "kubectl"),
                "--kubeconfig=/dev/null",
                "--insecure-skip-tls-verify",
                f"--server={self.url}",
                f"--token={token}",
                *arguments,
            ],
            input=given,
            env={"PATH": os.environ["PATH"], "HOME": str(self._directory)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0 or not check, done.stderr
        return done

    def apply(self, objects: Sequence[Any], *flags: str, check: bool = True) -> str:
        """Apply them, every field known. Returns what was said against it."""
        text = yaml.safe_dump_all(objects)
        flags = ("--server-side", "--force-conflicts", "--validate=strict", "-f", "-", *flags)
        return self.kubectl("apply", *flags, given=text, check=check).stderr

    def get(self, *what: str) -> dict[str, Any]:
        """One object, or a list of them."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *what, "-o", "json").stdout)
        return found

    def token(self, account: str, namespace: str, *bound: str) -> str:
        """One of a service account's. bound: kubectl's options that say to what."""
        return self.kubectl("-n", namespace, "create", "token", account, *bound).stdout.strip()

    def _run(self, name: str, command: Sequence[str]) -> None:
        with (self._directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen([*self._command, *command], stdout=log, stderr=log)

    def _kill(self, name: str) -> None:
        if process := self._running.pop(name, None):
            process.kill()
            process.wait()


if __name__ == "__main__":
    build()
