"""Connections with TLS over real sockets, both ends in this process."""

from __future__ import annotations

import socket
import ssl
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from tests.peers.ca import HOST


@contextmanager
def connected(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = HOST
) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """Both ends of a connection to a server called `name`, server first. Raises what an end raises."""
    below = socket.socketpair()
    for end in below:
        end.settimeout(10)
    accepted: Future[ssl.SSLSocket] = Future()

    def accept() -> None:
        try:
            accepted.set_result(server.wrap_socket(below[0], server_side=True))
        except OSError as error:
            below[0].close()
            accepted.set_exception(error)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        ours = client.wrap_socket(below[1], server_hostname=name)
    except OSError as error:
        below[1].close()
        thread.join()
        if told := accepted.exception():
            error.add_note(f"the server says: {told}")
        else:
            accepted.result().close()
        raise
    with ours:
        thread.join()
        with accepted.result() as theirs:
            yield theirs, ours


def exchange(theirs: ssl.SSLSocket, ours: ssl.SSLSocket) -> None:
    """Send a few bytes each way."""
    ours.sendall(b"there")
    assert theirs.recv(5) == b"there"
    theirs.sendall(b"back")
    assert ours.recv(4) == b"back"


def sans(end: ssl.SSLSocket) -> list[str]:
    """The names in the certificate that the other end showed."""
    shown: Any = end.getpeercert()
    return [value for _, value in shown["subjectAltName"]]


def ancient(protocol: int, version: ssl.TLSVersion) -> ssl.SSLContext:
    """An end that speaks nothing but an old version of TLS, and believes everyone."""
    context = ssl.SSLContext(protocol)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers("ALL:@SECLEVEL=0")
    return context
