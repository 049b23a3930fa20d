"""TLS off a socket in large blocks: whatever the records, and however the other end leaves."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from cached.transfer.sealed import BLOCK, Sealed
from tests.transfer.relay import make_certificate
from tests.transfer.rig import some_bytes


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    certificate, key = make_certificate(tmp_path_factory.mktemp("keys"), "good", "IP:127.0.0.1")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


@contextmanager
def connected(serve: Callable[[socket.socket], None]) -> Iterator[socket.socket]:
    """A socket to whoever `serve` is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10)
                serve(connection)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            with socket.create_connection(listener.getsockname(), timeout=10) as ours:
                yield ours
        finally:
            thread.join()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("longest", [1, 100, 16 << 10, 1 << 20])
def test_records_of_every_size_come_whole(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], version: ssl.TLSVersion, longest: int
) -> None:
    server, client = contexts
    data = some_bytes(min(5 * BLOCK + 3, 3000 * longest))
    rng = random.Random(longest)
    received = memoryview(bytearray(len(data)))

    def serve(connection: socket.socket) -> None:
        server.maximum_version = version
        with server.wrap_socket(connection, server_side=True) as tls:
            assert tls.recv(4) == b"ping"
            at = 0
            while at < len(data):
                count = rng.randint(1, longest)
                tls.sendall(data[at : at + count])
                at += count
            assert tls.recv(4) == b"pong"

    with connected(serve) as sock:
        sealed = Sealed(sock, client, "127.0.0.1")
        sealed.sendall(b"ping")
        sock.settimeout(None)
        done = 0
        while done < len(data):
            count = sealed.take(received[done:])
            done += count
            assert count or sealed.feed(len(data) - done)
        sealed.sendall(b"pong")
        assert sealed.recv_into(memoryview(bytearray(1))) == 0
    assert received == data


def test_who_says_that_it_ends_is_believed(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """The socket beneath may stay open."""
    server, client = contexts
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        with server.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as tls:
            tls.sendall(b"bye")
            tls.settimeout(0.01)
            with pytest.raises(TimeoutError):
                tls.unwrap()
            assert over.wait(10)

    with connected(serve) as sock:
        sealed = Sealed(sock, client, "127.0.0.1")
        received = memoryview(bytearray(100))
        assert sealed.recv_into(received) == 3
        assert sealed.recv_into(received) == 0
        over.set()


def test_who_leaves_in_the_handshake_broke_off(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(1)
        connection.shutdown(socket.SHUT_WR)

    with connected(serve) as sock, pytest.raises(ConnectionResetError):
        Sealed(sock, contexts[1], "127.0.0.1")


def test_another_name_is_not_trusted(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts

    def serve(connection: socket.socket) -> None:
        with pytest.raises(ssl.SSLError, match="ALERT"):  # it is told why
            server.wrap_socket(connection, server_side=True).recv(1)

    with connected(serve) as sock, pytest.raises(ssl.SSLCertVerificationError):
        Sealed(sock, client, "127.0.0.2")
