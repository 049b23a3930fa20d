"""Reaching another node as the daemon does, and being told why not."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from cached.peers.identity import Identity

PATIENCE: Final = 2.0
# A blob that nobody has, and a tree that nobody coordinates: so nothing comes of asking.
_NOTHING: Final = "0" * 64
_MOST_BYTES: Final = 4096
# OpenSSL's X509_V_ERR_… for a chain that leads to nobody known, which depends on what of it was shown.
_NO_ISSUER: Final = (18, 19, 20, 21)


@dataclass(frozen=True, slots=True)
class Fault:
    """network: the other is not reached. theirs: it is not believed. ours: it does not believe this node."""

    kind: Literal["network", "theirs", "ours"]
    text: str


@contextmanager
def _connected(address: str, identity: Identity | None, protocols: list[str]) -> Iterator[socket.socket]:
    """A connection, in TLS where there is an identity. Raises OSError."""
    from cached.peers.membership.address import Address

    at = Address.parse(address)
    with socket.create_connection((at.host, at.port), PATIENCE) as plain:
        if identity is None:
            yield plain
            return
        context = identity.client_context()
        if protocols:
            context.set_alpn_protocols(protocols)
        with context.wrap_socket(plain, server_hostname=identity.server_name(at.host)) as secure:
            yield secure


def data(address: str, identity: Identity | None) -> Fault | None:
    """Why ranges could not be had from the data server at `host:port`; None when they could."""
    request = f"HEAD /v1/blobs/sha256/{_NOTHING} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    try:
        with _connected(address, identity, []) as connection:
            connection.sendall(request.encode())
            answer = connection.recv(_MOST_BYTES)
    except OSError as error:
        return explain(error)
    if not answer:
        return Fault("ours", "it hangs up: this node's certificate is not for the address that it comes from")
    if not answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 503")):
        return Fault("network", "something else listens there")
    return None


def control(address: str, identity: Identity | None, me: str = "") -> Fault | None:
    """Why the daemon at `host:port` is not reached; None when it is.

    me: would it deal with the member of that address, too, this node.
    """
    try:
        # gRPC's own errors explain nothing. Its server speaks first, unless it refuses our certificate.
        with _connected(address, identity, ["h2"]) as connection:
            if not connection.recv(1):
                return Fault("ours", "it hangs up when it sees this node's certificate")
    except OSError as error:
        return explain(error)
    return _survey(address, identity, me) if me else None


def _survey(address: str, identity: Identity | None, me: str) -> Fault | None:
    import grpc

    from cached.core.digest import SHA256, Digest
    from cached.peers import wire
    from cached.peers.links import SERVICE
    from cached.peers.membership.address import Address

    if identity is None:
        channel = grpc.insecure_channel(address)
    else:
        name = identity.server_name(Address.parse(address).host)
        options = (("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0))
        channel = grpc.secure_channel(address, identity.channel_credentials(), options)
    request = wire.encode_survey_request(Digest(f"{SHA256}:{_NOTHING}"), me)
    with channel:
        try:
            channel.unary_unary(f"{SERVICE}/Survey", None, None)(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            code, said = error.code(), error.details() or error.code().name
            if code is grpc.StatusCode.PERMISSION_DENIED:
                return Fault("ours", said)
            if code is not grpc.StatusCode.NOT_FOUND:
                return Fault("network", f"it does not answer: {said}")
    return None


def explain(error: OSError) -> Fault:
    """What a failed connection means. Pure."""
    if isinstance(error, ssl.SSLCertVerificationError):
        why = "it is from another CA" if error.verify_code in _NO_ISSUER else error.verify_message
        return Fault("theirs", f"its certificate is not believed: {why}")
    if isinstance(error, ssl.SSLError):
        reason = (getattr(error, "reason", "") or "it hung up").lower().replace("_", " ")
        if "alert" in reason:
            return Fault("ours", f"it does not believe this node's certificate: {reason}")
        return Fault("theirs", f"no TLS is spoken there: {reason}")
    if isinstance(error, TimeoutError):
        return Fault("network", f"no answer within {PATIENCE:g} s, as where a firewall drops it")
    if isinstance(error, socket.gaierror):
        return Fault("network", "there is no such name")
    return Fault("network", error.strerror or type(error).__name__)
