"""Who is given anything: members with a certificate of the CA, and nobody else."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest

from cached.cli.authority import Authority
from cached.peers.certificate import Files
from cached.peers.identity import Identity
from cached.serve.peer.data.connection import is_node
from cached.serve.peer.data.server import DataOptions
from cached.telemetry.metrics import Metrics
from tests.peers.ca import identity_of, issue, make_ca
from tests.store.disk import some_bytes
from tests.store.house import MIB, until

from .data_house import WHOLE, Client, FileShelf, refused, request, started
from .test_data_server import eventually

DATA = some_bytes(4 * MIB + 321)


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return make_ca(tmp_path / "ca")


@pytest.fixture
def shelf(tmp_path: Path) -> FileShelf:
    path = tmp_path / "blob"
    path.write_bytes(DATA)
    return FileShelf(path)


def member(ca: Authority, where: Path, host: str = "127.0.0.1", name: str | None = None) -> Identity:
    """A node's identity, of the CA in `where`/ca."""
    return identity_of(issue(ca, where / "ca", host, name=name), name=name, host=host)


def door(identity: Identity, name: str = "127.0.0.1") -> tuple[ssl.SSLContext, str]:
    """What a client needs to come as `identity` to the node that carries `name`."""
    return identity.client_context(), name


def shut_out(port: int, tls: tuple[ssl.SSLContext, str] | None, source: str = "127.0.0.1") -> bool:
    """Whether a client gets nothing at all."""
    try:
        with Client(port, tls, source=source) as client:
            client.send(request(WHOLE, "bytes=0-0"))
            client._more()
    except (OSError, EOFError):
        return True
    return False


def test_members_are_served(tmp_path: Path, ca: Authority, shelf: FileShelf) -> None:
    node = member(ca, tmp_path)
    with started(shelf, identity=node) as (server, port), Client(port, door(node)) as client:
        assert isinstance(client.sock, ssl.SSLSocket)
        assert client.sock.version() == "TLSv1.3"
        for first, last in [(0, len(DATA) - 1), (5, 5), (MIB - 1, 3 * MIB)]:
            assert client.ask(WHOLE, first, last).body == DATA[first : last + 1]
        client.send(b"".join(request(WHOLE, f"bytes=0-{last}") for last in range(20)))
        assert [len(client.answer().body) for _ in range(20)] == list(range(1, 21))
        assert client.ask(WHOLE, len(DATA), len(DATA)).status == 416
        assert client.ask(WHOLE, 0, 0, method="POST").status == 405
        assert client.is_over()
        assert set(server.sent) == {"127.0.0.1"}


def test_strangers_are_shut_out(tmp_path: Path, ca: Authority, shelf: FileShelf) -> None:
    node, metrics = member(ca, tmp_path), Metrics()
    foreign = make_ca(tmp_path / "foreign")
    expired = issue(ca, tmp_path / "ca", "127.0.0.3", expired=True)
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.load_verify_locations(tmp_path / "ca/ca.crt")
    old = member(ca, tmp_path, "127.0.0.4").client_context()
    with pytest.deprecated_call():
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with started(shelf, identity=node, metrics=metrics) as (_, port):
        assert shut_out(port, (_context(issue(foreign, tmp_path / "ca", "127.0.0.2")), "127.0.0.1"))
        assert shut_out(port, (_context(expired), "127.0.0.1"))
        assert shut_out(port, (bare, "127.0.0.1"))
        assert shut_out(port, (old, "127.0.0.1"))
        eventually(lambda: refused(metrics, "identity") == 4)
        assert shut_out(port, None)  # says HTTP to TLS
        assert not shut_out(port, door(node))
    assert shelf.loads == [1, 0]


def _context(files: Files) -> ssl.SSLContext:
    """A client that shows what Identity would not even load."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(files.ca)
    context.load_cert_chain(files.cert, files.key)
    return context


def test_a_common_name_is_demanded(tmp_path: Path, ca: Authority, shelf: FileShelf) -> None:
    node, other = member(ca, tmp_path, name="cached"), member(ca, tmp_path, "127.0.0.2", name="cached")
    nameless = member(ca, tmp_path, "127.0.0.3")
    with started(shelf, identity=node) as (_, port):
        assert not shut_out(port, door(other, "cached"))
        assert shut_out(port, door(nameless, "cached"))
        assert shut_out(port, door(nameless, "cached"), "127.0.0.3"), "its address is not asked for"


def test_an_address_must_be_ones_own(
    tmp_path: Path, ca: Authority, shelf: FileShelf, caplog: pytest.LogCaptureFixture
) -> None:
    node, other, named = (member(ca, tmp_path, host) for host in ("127.0.0.1", "127.0.0.2", "node-7"))
    with started(shelf, identity=node) as (_, port), caplog.at_level(logging.WARNING):
        assert not shut_out(port, door(other), "127.0.0.2")
        assert shut_out(port, door(other), "127.0.0.3")
        assert shut_out(port, door(other), "127.0.0.1")
        assert not shut_out(port, door(named), "127.0.0.3"), "no address is claimed by a DNS name"
    assert len(caplog.records) == 1, "a log is not for strangers to fill"
    assert {"peer": "127.0.0.3", "reason": "127.0.0.2"}.items() <= vars(caplog.records[0]).items()


@pytest.mark.parametrize(
    ("common", "names", "admitted"),
    [
        (None, ["10.0.0.1"], True),
        (None, ["10.0.0.2"], False),
        (None, ["10.0.0.2", "10.0.0.1"], True),
        (None, ["10.0.0.2", "node-2"], True),
        (None, ["node-2"], True),
        (None, [], False),
        ("cached", ["cached"], True),
        ("cached", ["CACHED", "10.0.0.2"], True),
        ("cached", ["node-2", "10.0.0.1"], False),
        ("cached", ["*"], False),
        ("cached", [], False),
    ],
)
def test_who_is_a_node(
    tmp_path: Path, ca: Authority, common: str | None, names: list[str], admitted: bool
) -> None:
    assert is_node(member(ca, tmp_path, name=common), names, "10.0.0.1") is admitted


async def test_certificates_are_replaced_under_open_connections(
    tmp_path: Path, ca: Authority, shelf: FileShelf
) -> None:
    node = member(ca, tmp_path)
    with started(shelf, identity=node) as (_, port), Client(port, door(node)) as early:
        first = _serial(early)
        issue(ca, tmp_path / "ca", lasts=timedelta(days=2))
        follow = asyncio.create_task(node.follow())
        await until(lambda: node.generation > 1)
        follow.cancel()
        with Client(port, door(node)) as late:
            assert _serial(late) != first
            assert late.ask(WHOLE, 0, 9).body == DATA[:10]
        assert early.ask(WHOLE, 0, 9).body == DATA[:10]
        assert _serial(early) == first


def _serial(client: Client) -> object:
    assert isinstance(client.sock, ssl.SSLSocket)
    shown = client.sock.getpeercert()
    assert shown
    return shown["serialNumber"]


def test_who_never_speaks_blocks_nobody(tmp_path: Path, ca: Authority, shelf: FileShelf) -> None:
    node = member(ca, tmp_path)
    with started(shelf, identity=node, options=DataOptions(head=2)) as (_, port):
        silent = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(10)]
        assert not shut_out(port, door(node))
        silent[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            silent[0].recv(1)  # the server still waits for it
        for sock in silent:
            sock.settimeout(20)
            with sock:
                assert sock.recv(1) == b""


def test_who_only_looks_whether_somebody_listens_is_no_stranger(
    tmp_path: Path, ca: Authority, shelf: FileShelf, caplog: pytest.LogCaptureFixture
) -> None:
    node, metrics = member(ca, tmp_path), Metrics()
    with started(shelf, identity=node, metrics=metrics) as (_, port):
        for _ in range(3):
            socket.create_connection(("127.0.0.1", port)).close()
        assert not shut_out(port, door(node))
    assert refused(metrics, "identity") == 0
    assert not caplog.records


def test_stop_cuts_handshakes_and_downloads(tmp_path: Path, ca: Authority, shelf: FileShelf) -> None:
    node = member(ca, tmp_path)
    with (
        started(shelf, identity=node, options=DataOptions(bandwidth=64 << 10)) as (server, port),
        socket.create_connection(("127.0.0.1", port)) as silent,
        Client(port, door(node)) as client,
    ):
        client.send(request(WHOLE, "bytes=0-999999"))
        eventually(lambda: server.sent)
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 5
        assert silent.recv(1) == b""
        with pytest.raises((OSError, EOFError)):
            client.answer()
