"""A real registry: Docker's own, from the Debian package `docker-registry`."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.servers.tokens import TokenService

DOCKER_REGISTRY = shutil.which("docker-registry")
"""Where it is, or None."""

_READY_SECONDS = 20.0
_LISTENING = re.compile(r"listening on [^ \"]*:(\d+)")


class DockerRegistry:
    """The registry, running while the `with` block does. Data go below `directory`, and nowhere else.

    It knows no referrers. It dies with the process that started it.
    """

    def __init__(
        self,
        directory: Path,
        *,
        address: str = "127.0.0.1",
        port: int = 0,
        users: Mapping[str, str] | None = None,
        tokens: TokenService | None = None,
        certificate: tuple[Path, Path] | None = None,
        command: Sequence[str] = (),
    ) -> None:
        """Where it listens: `address` and `port`, 0 for any that is free.

        users: passwords of those who may do all, by name; asked for by Basic authentication. tokens: who says
        instead what whom is allowed. With neither, anybody may do all. certificate: of the server, and
        its key, in PEM, to speak TLS. command: goes before, such as that of a network namespace.
        """
        self.directory = directory
        self.address = address
        self.port = port
        self._users = users
        self._tokens = tokens
        self._certificate = certificate
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def host(self) -> str:
        """As it stands in the names of images."""
        return f"{self.address}:{self.port}"

    @property
    def endpoint(self) -> str:
        return f"{'https' if self._certificate else 'http'}://{self.host}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the registry is not running"
        return self._process.pid

    @property
    def log(self) -> str:
        """What it wrote since its last start."""
        return self._log.read_text()

    def blob_file(self, digest: str) -> Path:
        """Where it keeps the bytes of a blob or a manifest; what is written there, it serves."""
        algorithm, _, hexadecimal = digest.partition(":")
        below = self.directory / "data/docker/registry/v2/blobs" / algorithm
        return below / hexadecimal[:2] / hexadecimal / "data"

    def start(self) -> None:
        """Start with the data and at the port of before, and wait until it listens."""
        assert DOCKER_REGISTRY is not None, "docker-registry is not installed; see make packages"
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "config.yml"
        config.write_text(yaml.safe_dump(self._config()))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._command, DOCKER_REGISTRY, "serve", config],
                cwd=self.directory,
                env={"PATH": os.defpath, "OTEL_TRACES_EXPORTER": "none"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.port = self._listening()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """SIGKILL; the data stay, so that `start` can bring the registry back."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def _log(self) -> Path:
        return self.directory / "registry.log"

    def _listening(self) -> int:
        """The port, which it tells once connections are accepted."""
        deadline = time.monotonic() + _READY_SECONDS
        while self._process and self._process.poll() is None and time.monotonic() < deadline:
            if said := _LISTENING.search(self.log):
                return int(said[1])
            time.sleep(0.01)
        raise RuntimeError(f"docker-registry did not start:\n{self.log[-2000:]}")

    def _config(self) -> dict[str, Any]:
        http: dict[str, Any] = {"addr": self.host, "secret": "of-tests", "relativeurls": True}
        if self._certificate:
            certificate, key = self._certificate
            http["tls"] = {"certificate": str(certificate), "key": str(key)}
        return {
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.directory / "data")},
                "delete": {"enabled": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": http,
            **self._auth(),
        }

    def _auth(self) -> dict[str, Any]:
        if self._tokens:
            bundle = self.directory / "tokens.pem"
            bundle.write_bytes(self._tokens.certificate)
            tokens = {"realm": self._tokens.realm, "service": self._tokens.service}
            tokens |= {"issuer": self._tokens.issuer, "rootcertbundle": str(bundle)}
            return {"auth": {"token": tokens}}
        if self._users:
            file = self.directory / "htpasswd"
            file.write_text("".join(f"{user}:{_bcrypt(word)}\n" for user, word in self._users.items()))
            return {"auth": {"htpasswd": {"realm": "registry.test", "path": str(file)}}}
        return {}


def _bcrypt(password: str) -> str:
    """The one kind of hash that it takes; the C library has it, Python's own has not for long."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    hashed = crypt(password.encode(), b"$2b$04$abcdefghijklmnopqrstuu")
    text = str((hashed or b"").decode())
    assert text.startswith("$2b$"), "this C library knows no bcrypt"
    return text
