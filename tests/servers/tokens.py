"""A token service for registries: it signs who may do what, as Docker's token authentication has it.

A small one of our own, since there is none to install. What it signs is checked by the real registry.
"""

from __future__ import annotations

import base64
import json
import secrets
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

_ALL: Final = ("pull", "push", "delete")


@dataclass(frozen=True)
class TokenCall:
    """One call that came: who asked ("" for nobody), for what, how, and what the answer was."""

    method: str
    user: str
    scopes: tuple[str, ...]
    grant: str
    status: int


class TokenService:
    """Signs while the `with` block runs; give it to a `DockerRegistry`, and enter it first.

    Users may do what they like where `members` lets them, and everywhere if it does not name them; anybody
    may pull what a glob of `public` takes. Whoever asks for more gets a token all the same, without that, as
    is usual: the registry refuses it then. A wrong password is answered by 401.
    """

    service: Final = "registry.test"
    issuer: Final = "tokens.test"

    def __init__(
        self,
        users: Mapping[str, str],
        *,
        public: Sequence[str] = (),
        members: Mapping[str, Sequence[str]] | None = None,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.users = dict(users)
        self.public = tuple(public)
        self.members = dict(members or {})
        self.expires_in: int | None = 300
        """Seconds that tokens last; None leaves it unsaid, which means 60."""
        self.field = "token"
        """How the answer calls the token: `token` or `access_token`."""
        self.pause = 0.0
        """Seconds to think about each call."""
        self.calls: list[TokenCall] = []
        self._identities = {secrets.token_hex(16): user for user in self.users}
        self._lock = threading.Lock()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _certificate(self._key)
        self._server = _Server((host, 0), _Handler)
        self._server.owner = self
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="token-service")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def realm(self) -> str:
        """Where tokens are asked for."""
        host, port = self._server.server_address[:2]
        return f"{self._scheme}://{host!s}:{port}/token"

    @property
    def certificate(self) -> bytes:
        """By which a registry knows what was signed here, in PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def identity(self, user: str) -> str:
        """An identity token: it stands for the user, without his password."""
        return next(token for token, of in self._identities.items() if of == user)

    def token(self, user: str, *scopes: str) -> str:
        """A token for scopes such as `repository:a/b:pull,push`; "" is nobody."""
        now = int(time.time())
        lasts = 60 if self.expires_in is None else self.expires_in
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": self.service,
            "iat": now,
            "nbf": now - 60,
            "exp": now + lasts,
            "jti": secrets.token_hex(8),
            "access": [access for scope in scopes if (access := self._access(user, scope))],
        }
        x5c = base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()
        signed = f"{_part({'typ': 'JWT', 'alg': 'ES256', 'x5c': [x5c]})}.{_part(claims)}"
        numbers = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_base64(b''.join(number.to_bytes(32, 'big') for number in numbers))}"

    def forget(self) -> None:
        """Begin the list of calls anew."""
        with self._lock:
            self.calls = []

    def answer(self, method: str, authorization: str, asked: Mapping[str, Sequence[str]]) -> tuple[int, Any]:
        """Status and JSON for one call."""
        time.sleep(self.pause)
        grant = "".join(asked.get("grant_type", ()))
        scopes = tuple(each for scope in asked.get("scope", ()) for each in scope.split(" "))
        user = (
            self._identities.get("".join(asked.get("refresh_token", ())))
            if grant
            else self._basic(authorization)
        )
        status = 401 if user is None else 200
        with self._lock:
            self.calls.append(TokenCall(method, user or "", scopes, grant, status))
        if user is None:
            return status, {"errors": [{"code": "UNAUTHORIZED", "message": "who is that?"}]}
        said: dict[str, Any] = {self.field: self.token(user, *scopes)}
        if self.expires_in is not None:
            said["expires_in"] = self.expires_in
        return status, said

    def _basic(self, authorization: str) -> str | None:
        """The user who proved himself, "" for nobody, None for a wrong password."""
        if not authorization:
            return ""
        user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        return user if user and self.users.get(user) == password else None

    def _access(self, user: str, scope: str) -> dict[str, object] | None:
        kind, _, rest = scope.partition(":")
        name, _, wanted = rest.rpartition(":")
        mine = bool(user) and any(fnmatchcase(name, glob) for glob in self.members.get(user, ("*",)))
        allowed = _ALL if mine else ("pull",) * any(fnmatchcase(name, glob) for glob in self.public)
        actions = [action for action in wanted.split(",") if action in allowed]
        return {"type": kind, "name": name, "actions": actions} if actions else None


class _Server(ThreadingHTTPServer):
    owner: TokenService


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(parse_qs(self.rfile.read(length).decode()))

    def _answer(self, asked: Mapping[str, Sequence[str]]) -> None:
        status, said = self.server.owner.answer(self.command, self.headers.get("Authorization", ""), asked)
        body = json.dumps(said).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Calls are kept, not printed."""


def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, TokenService.issuer)])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _part(said: object) -> str:
    return _base64(json.dumps(said, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
