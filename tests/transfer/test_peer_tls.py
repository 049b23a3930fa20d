"""Chunks from other members over mutual TLS: both ends prove who they are, and rotation breaks nothing."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from cached.cli.authority import Authority
from cached.core.digest import Digest
from cached.peers.identity import Identity
from cached.transfer.transfer import PeerFailed, Trust
from tests.peers.ca import identity_of, issue, make_ca
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.relay import relay
from tests.transfer.rig import CHUNK, QUICK, MemorySink, Rig, rigged, some_bytes

DATA = some_bytes(12 * CHUNK + 77)
BLOB = Digest.sha256(DATA)
NAME = "cached.example"


class Cluster:
    """A CA, and two members that it vouches for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ca = make_ca(directory)
        self.server = identity_of(issue(self.ca, directory))
        self.client = identity_of(issue(self.ca, directory))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    return Cluster(tmp_path_factory.mktemp("cluster"))


class Counted:
    """What an identity is to connections, rotated by hand; counts the handshakes that it is asked for."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.handshakes = 0

    def client_context(self) -> ssl.SSLContext:
        self.handshakes += 1
        return self.identity.client_context()

    def server_name(self, host: str) -> str:
        return self.identity.server_name(host)


class Front:
    """A data server behind TLS, and who asks it."""

    def __init__(self, rig: Rig, address: str) -> None:
        self.rig = rig
        self.address = address
        self.sink = MemorySink(len(DATA))

    async def get(self, index: int) -> None:
        digest = blake3(DATA[index * CHUNK : (index + 1) * CHUNK]).digest()
        await self.rig.transfer.peer_chunk(self.sink, index, self.address, BLOB, digest, seconds=5.0)


@asynccontextmanager
async def front(
    origin: FaultyServer, files: Files, context: ssl.SSLContext | None, trust: Trust
) -> AsyncIterator[Front]:
    files.put(f"/v1/blobs/{BLOB.algorithm}/{BLOB.hex}", DATA)
    options = replace(QUICK, connections=8)
    async with relay(origin.endpoint, context) as server, rigged(options) as rig:
        rig.transfer.peers(trust)
        yield Front(rig, f"127.0.0.1:{server.port}")


async def test_both_prove_who_they_are(origin: FaultyServer, files: Files, cluster: Cluster) -> None:
    async with front(origin, files, cluster.server.server_context(), cluster.client) as peer:
        await asyncio.gather(*(peer.get(index) for index in range(13)))
    assert peer.sink.data == DATA


@pytest.mark.parametrize("size", [1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (3 << 20) + 77, 8 << 20])
@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plaintext"])
async def test_chunks_of_every_size_come_whole(
    origin: FaultyServer, files: Files, cluster: Cluster, tls: bool, size: int
) -> None:
    """Receives wait for much at a time, and never for more than comes."""
    data = some_bytes(2 * size)
    blob = Digest.sha256(data)
    files.put(f"/v1/blobs/{blob.algorithm}/{blob.hex}", data)
    sink = MemorySink(2 * size, size)
    context = cluster.server.server_context() if tls else None
    async with relay(origin.endpoint, context) as server, rigged() as rig:
        rig.transfer.peers(cluster.client if tls else None)
        for index in (0, 1):
            digest = blake3(data[index * size :][:size]).digest()
            address = f"127.0.0.1:{server.port}"
            await rig.transfer.peer_chunk(sink, index, address, blob, digest, seconds=5.0)
    assert sink.data == data


async def test_a_handshake_serves_many_chunks(origin: FaultyServer, files: Files, cluster: Cluster) -> None:
    trust = Counted(cluster.client)
    async with front(origin, files, cluster.server.server_context(), trust) as peer:
        for index in range(13):
            await peer.get(index)
    assert trust.handshakes == 1


@pytest.mark.parametrize("expired", [False, True], ids=["foreign", "expired"])
async def test_a_stranger_is_not_read_from(
    origin: FaultyServer, files: Files, cluster: Cluster, tmp_path: Path, expired: bool
) -> None:
    ca = cluster.ca if expired else make_ca(tmp_path / "foreign")
    files_of = issue(ca, tmp_path, expired=expired)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files_of.cert, files_of.key)
    async with front(origin, files, context, cluster.client) as peer:
        with pytest.raises(PeerFailed, match="not trusted") as raised:
            await peer.get(0)
        assert raised.value.kind == "gone"
    assert origin.requests() == []


async def test_whoever_is_not_let_in_is_told_that_the_peer_is_gone(
    origin: FaultyServer, files: Files, cluster: Cluster, tmp_path: Path
) -> None:
    """With TLS 1.3 the refusal comes after the handshake."""
    stranger = make_ca(tmp_path)
    context = identity_of(issue(stranger, tmp_path)).server_context()
    context.load_cert_chain(cluster.directory / "127.0.0.1/tls.crt", cluster.directory / "127.0.0.1/tls.key")
    async with front(origin, files, context, cluster.client) as peer:
        with pytest.raises(PeerFailed) as raised:
            await peer.get(0)
        assert raised.value.kind == "gone"
    assert origin.requests() == []


@pytest.mark.parametrize(("carried", "trusted"), [(NAME, True), ("other.example", False)])
async def test_a_common_name_stands_for_the_host(
    origin: FaultyServer, files: Files, cluster: Cluster, tmp_path: Path, carried: str, trusted: bool
) -> None:
    ca: Authority = make_ca(tmp_path)
    client = identity_of(issue(ca, tmp_path, "client", name=NAME), name=NAME)
    server = identity_of(issue(ca, tmp_path, "10.0.0.1", name=carried), name=carried)
    async with front(origin, files, server.server_context(), client) as peer:
        if trusted:
            await peer.get(0)
        else:
            with pytest.raises(PeerFailed, match="not trusted"):
                await peer.get(0)


async def test_after_a_rotation_new_connections_use_the_new_certificate(
    origin: FaultyServer, files: Files, tmp_path: Path
) -> None:
    """Kept connections go on; nothing that is under way breaks off."""
    ca = make_ca(tmp_path)
    server = identity_of(issue(ca, tmp_path, "127.0.0.1")).server_context()
    trust = Counted(identity_of(issue(ca, tmp_path, "client"), host="client"))
    origin.inject(Fault(skip=1, stall=CHUNK // 2, pause=0.2))
    async with front(origin, files, server, trust) as peer:
        await peer.get(0)
        under_way = asyncio.create_task(peer.get(1))
        await asyncio.sleep(0.05)
        trust.identity = identity_of(issue(ca, tmp_path, "client"), host="client")
        await peer.get(2)
        await under_way
        assert trust.handshakes == 2
        await peer.get(3)
        assert trust.handshakes == 2
    assert sorted(peer.sink.order) == [0, 1, 2, 3]


async def test_a_server_without_tls_is_gone(origin: FaultyServer, files: Files, cluster: Cluster) -> None:
    async with front(origin, files, None, cluster.client) as peer:
        with pytest.raises(PeerFailed) as raised:
            await peer.get(0)
        assert raised.value.kind == "gone"
    assert origin.requests() == []
