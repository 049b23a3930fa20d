"""Who this node is, and whom it believes: certificates in force, followed as their files change."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc

from cached.core.errors import NotConfigured
from cached.peers.certificate import Certificate, Files, Pem, bare, carries
from cached.peers.contexts import client_context, server_context, shake_hands
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_POLL = 1.0
_UNSUITABLE = 26  # X509_V_ERR_INVALID_PURPOSE


@dataclass(frozen=True, slots=True)
class _Generation:
    """All that is made of one state of the files; replaced as a whole, so that threads see one or another."""

    number: int
    pem: Pem
    certificate: Certificate
    server: ssl.SSLContext
    client: ssl.SSLContext
    grpc_server: grpc.ServerCertificateConfiguration
    grpc_client: grpc.ChannelCredentials


class Identity:
    """This node's certificate, its key, and the CA of all nodes.

    `follow` belongs to one event loop; the rest may be called from any thread. Connections that are open
    go on with the certificate that they began with.
    """

    def __init__(self, files: Files, name: str | None, host: str, metrics: Metrics) -> None:
        self._files = files
        self._name = name
        self._host = host
        self._metrics = metrics
        self._adopt(self._made(files.read(), 1))

    @classmethod
    def load(
        cls, ca: Path, cert: Path, key: Path, *, name: str | None, host: str, metrics: Metrics
    ) -> Identity:
        """Read the files and try them out.

        name: a DNS name that all nodes' certificates carry; when None, each carries its node's own host,
        and this node's is `host`. Raises NotConfigured that names the file and its fault: unreadable, not
        PEM, a key that does not fit or that every user may read, a certificate that has expired, that is
        not from the CA, may not be used by both ends, or is for another name.
        """
        return cls(Files(ca, cert, key), name, host, metrics)

    @property
    def generation(self) -> int:
        """Grows whenever other files are in force."""
        return self._current.number

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; demands a certificate of our CA from each client. The same one per generation."""
        return self._current.server

    def client_context(self) -> ssl.SSLContext:
        """TLS 1.2 or later; shows our certificate, checks the server's against our CA and its name.

        To be used with `server_hostname=server_name(host)`. The same one per generation.
        """
        return self._current.client

    def server_name(self, host: str) -> str:
        """What the certificate of a node at `host` must carry: the common name, or the host itself."""
        return self._name or bare(host)

    def vouches(self, names: Collection[str], host: str) -> bool:
        """Whether whoever showed a verified certificate with these SANs may speak for the node at `host`.

        With a common name this tells a node from a stranger, but not one node from another.
        """
        return carries(names, self.server_name(host))

    def server_credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server: demands client certificates; each handshake uses the files in force by then."""
        first = self._current.grpc_server
        changes = _Changes(first, lambda: self._current.grpc_server)
        return grpc.dynamic_ssl_server_credentials(
            first,
            changes,  # type: ignore[arg-type]  # the stubs do not know None, for no change
            require_client_authentication=True,
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a gRPC channel, with the files now in force; a later generation needs another channel."""
        return self._current.grpc_client

    async def follow(self) -> None:
        """Forever: put the files in force when they change and are good.

        They are polled rather than watched: a path may lead through links to directories that no one told
        us of, as a Secret's `..data` does. Files that are no good change nothing. They are tried again each
        time, and complained of once they have stayed so: often one file of a pair was only written later.
        """
        seen, told, expired = "", "", 0
        while True:
            await asyncio.sleep(_POLL)
            fault = await asyncio.to_thread(self._refresh)
            if fault and fault == seen != told:
                log.error("certificate refused; the last good one stays in force", extra={"reason": fault})
                told = fault
            elif not fault:
                told = ""
            seen = fault
            if expired != self.generation and self._current.certificate.expires <= time.time():
                expired = self.generation
                log.error("this node's certificate has expired; other nodes turn it away")

    def _refresh(self) -> str:
        """Read the files anew, and put them in force if they have changed. Returns their fault."""
        try:
            pem = self._files.read()
            if pem == self._current.pem:
                return ""
            made = self._made(pem, self.generation + 1)
        except NotConfigured as error:
            return str(error)
        self._adopt(made)
        expires = datetime.fromtimestamp(made.certificate.expires, UTC).isoformat()
        log.info("another certificate is in force", extra={"expires": expires})
        return ""

    def _adopt(self, made: _Generation) -> None:
        self._current = made
        self._metrics.certificate_expiry.set(made.certificate.expires)

    def _made(self, pem: Pem, number: int) -> _Generation:
        files, own_name = self._files, self.server_name(self._host)
        certificate = files.examine(pem, own_name, time.time())
        try:
            server, client = server_context(pem), client_context(pem)
            shake_hands(server, client, own_name)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code == _UNSUITABLE:
                raise NotConfigured(
                    f"the certificate {files.cert} is not for both ends of a connection",
                    hint="nodes are servers and clients: it needs both extended key usages, or none",
                ) from None
            raise NotConfigured(
                f"the certificate {files.cert} is not from the CA in {files.ca}: {error.verify_message}",
                hint="it must hold all certificates that lead from this node's to one in that file",
            ) from None
        except OSError as error:
            why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
            raise NotConfigured(f"the certificate {files.cert} cannot be used: {why}") from None
        return _Generation(
            number,
            pem,
            certificate,
            server,
            client,
            grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.ca),
            grpc.ssl_channel_credentials(pem.ca, pem.key, pem.cert),
        )


class _Changes:
    """Gives gRPC a configuration once, and None for as long as there is no other. Thread-safe.

    gRPC replaces what its handshakes use each time it is given something, without a lock: two handshakes at
    once then free it twice, and the daemon dies of it.
    """

    def __init__(
        self,
        given: grpc.ServerCertificateConfiguration,
        current: Callable[[], grpc.ServerCertificateConfiguration],
    ) -> None:
        self._given = given
        self._current = current
        self._lock = threading.Lock()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            current = self._current()
            if current is self._given:
                return None
            self._given = current
            return current
