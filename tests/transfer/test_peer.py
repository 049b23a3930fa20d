"""Chunks from other members: taken only if they are the right ones, and every failure told by its kind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from blake3 import blake3

from cached.core.digest import Digest
from cached.core.errors import DiskFault
from cached.core.source import RangeRequest
from cached.transfer.transfer import PeerFailed, SourceLimits, TransferOptions, Trust
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.relay import proxy
from tests.transfer.rig import CHUNK, QUICK, MemorySink, Rig, rigged, some_bytes

DATA = some_bytes(12 * CHUNK + 77)
BLOB = Digest.sha256(DATA)
PATH = f"/v1/blobs/{BLOB.algorithm}/{BLOB.hex}"
PATIENT = replace(QUICK, stall_timeout=60.0, connect_timeout=60.0)


def chunk_of(index: int) -> bytes:
    return DATA[index * CHUNK : (index + 1) * CHUNK]


def endpoint_of(server: FaultyServer) -> str:
    return server.endpoint.removeprefix("http://")


class Neighbour:
    """A rig that asks one peer, and what that peer sees."""

    def __init__(self, rig: Rig, server: FaultyServer, address: str) -> None:
        self.rig = rig
        self.server = server
        self.address = address
        self.sink = MemorySink(len(DATA))

    async def get(self, index: int, *, seconds: float = 5.0, expected: bytes | None = None) -> None:
        digest = blake3(chunk_of(index)).digest() if expected is None else expected
        await self.rig.transfer.peer_chunk(self.sink, index, self.address, BLOB, digest, seconds=seconds)

    async def fails(self, reason: str, index: int = 0, *, seconds: float = 5.0) -> PeerFailed:
        with pytest.raises(PeerFailed) as raised:
            await self.get(index, seconds=seconds)
        assert raised.value.kind == reason
        assert self.sink.order == []
        assert failures(self.rig) == {reason: 1.0}
        self.rig.check_idle()
        return raised.value


def failures(rig: Rig) -> dict[str, float]:
    return {
        sample.labels["reason"]: sample.value
        for family in rig.metrics.peer_failures.collect()
        for sample in family.samples
        if sample.name.endswith("_total")
    }


@asynccontextmanager
async def neighbour(
    server: FaultyServer,
    files: Files,
    *,
    address: str = "",
    trust: Trust | None = None,
    limits: SourceLimits | None = None,
    options: TransferOptions = QUICK,
) -> AsyncIterator[Neighbour]:
    files.put(PATH, DATA)
    async with rigged(options) as rig:
        rig.transfer.peers(trust, limits or SourceLimits())
        yield Neighbour(rig, server, address or endpoint_of(server))


async def test_a_chunk_is_asked_for_by_its_name_and_range(origin: FaultyServer, files: Files) -> None:
    async with neighbour(origin, files) as peer:
        for index in (12, 0, 5):
            await peer.get(index)
        received = peer.rig.metrics.received.labels("peer")._value.get()
        assert received == 2 * CHUNK + 77
        assert failures(peer.rig) == {}
    assert peer.sink.order == [12, 0, 5]
    for index in peer.sink.order:
        assert peer.sink.data[index * CHUNK :][:CHUNK] == chunk_of(index)
    assert [(seen.path, seen.span) for seen in origin.requests()] == [
        (PATH, (index * CHUNK, index * CHUNK + len(chunk_of(index)) - 1)) for index in (12, 0, 5)
    ]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(flip=CHUNK // 2), "verify"),
        (Fault(stall=0), "stall"),
        (Fault(stall=CHUNK // 2), "stall"),
        (Fault(hang_up=True), "gone"),
        (Fault(cut=0), "gone"),
        (Fault(cut=CHUNK - 1), "gone"),
        (Fault(status=500), "gone"),
        (Fault(status=400), "gone"),
        (Fault(status=403), "gone"),
        (Fault(status=302, headers={"Location": "http://127.0.0.1:1/"}), "gone"),
        (Fault(forget=frozenset({"range"})), "gone"),
        (Fault(headers={"Content-Range": f"bytes 1-{CHUNK}/{len(DATA)}"}), "gone"),
        (Fault(headers={"Content-Range": f"bytes 0-{CHUNK - 1}/{len(DATA) + 1}"}), "gone"),
        (Fault(headers={"Content-Encoding": "gzip"}), "gone"),
        (Fault(status=404), "missing"),
        (Fault(status=416), "missing"),
        (Fault(status=503, headers={"Retry-After": "1"}), "full"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_goes_wrong_is_told_by_its_kind_and_asked_once(
    origin: FaultyServer, files: Files, fault: Fault, kind: str
) -> None:
    origin.inject(fault)
    async with neighbour(origin, files) as peer:
        failure = await peer.fails(kind)
        assert peer.address in str(failure)
        assert len(origin.requests()) == 1
        await peer.get(0)  # which is not refused for what was
    assert peer.sink.order == [0]


@pytest.mark.parametrize("expected", [b"", bytes(32)])
async def test_no_hash_is_good_enough_but_the_right_one(
    origin: FaultyServer, files: Files, expected: bytes
) -> None:
    async with neighbour(origin, files) as peer:
        with pytest.raises(PeerFailed) as raised:
            await peer.get(0, expected=expected)
        assert raised.value.kind == "verify"
    assert peer.sink.order == []


async def test_nobody_there(origin: FaultyServer, files: Files) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        address = f"127.0.0.1:{closed.getsockname()[1]}"
    async with neighbour(origin, files, address=address) as peer:
        await peer.fails("gone")


@pytest.mark.parametrize("address", ["", "host:port", "host:99999", "[::1", ":7400"])
async def test_what_is_no_address(origin: FaultyServer, files: Files, address: str) -> None:
    async with neighbour(origin, files) as peer:
        peer.address = address
        await peer.fails("gone")


async def test_a_drip_has_no_more_time_than_it_was_given(origin: FaultyServer, files: Files) -> None:
    origin.inject(Fault(rate=float(2 * CHUNK)))
    async with neighbour(origin, files, options=PATIENT) as peer:
        began = time.monotonic()
        await peer.fails("stall", seconds=0.2)
        assert 0.15 < time.monotonic() - began < 0.45


async def test_a_drip_that_keeps_its_time_is_taken(origin: FaultyServer, files: Files) -> None:
    """However slow: whether a chunk is worth waiting for is for the caller to say."""
    origin.inject(Fault(rate=float(4 * CHUNK)))
    async with neighbour(origin, files, options=replace(QUICK, min_rate=1 << 30)) as peer:
        await peer.get(0)
    assert peer.sink.order == [0]


async def test_waiting_for_a_turn_is_no_part_of_the_time(origin: FaultyServer, files: Files) -> None:
    limits = SourceLimits(bandwidth=3 * CHUNK)
    async with neighbour(origin, files, limits=limits) as peer:
        began = time.monotonic()
        await asyncio.gather(*(peer.get(index, seconds=0.3) for index in range(3)))
        assert time.monotonic() - began > 0.6
        assert failures(peer.rig) == {}


async def test_the_bandwidth_of_sources_does_not_bound_peers(origin: FaultyServer, files: Files) -> None:
    async with neighbour(origin, files, options=replace(QUICK, bandwidth=CHUNK)) as peer:
        began = time.monotonic()
        await asyncio.gather(*(peer.get(index) for index in range(12)))
        assert time.monotonic() - began < 3.0


async def test_connections_are_kept_and_a_closed_one_costs_nothing(files: Files) -> None:
    files.put(PATH, DATA)
    accepted: list[asyncio.StreamWriter] = []
    with FaultyServer(files) as server:
        to = endpoint_of(server).split(":")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)
            theirs, ours = await asyncio.open_connection(*to)
            while head := await reader.read(1 << 16):
                ours.write(head)
                blocks = await theirs.readuntil(b"\r\n\r\n")
                blocks += await theirs.readexactly(CHUNK)
                writer.write(blocks)
            ours.close()

        front = await asyncio.start_server(accept, "127.0.0.1", 0)
        address = f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
        async with front, neighbour(server, files, address=address) as peer:
            await peer.get(0)
            await peer.get(1)
            assert len(accepted) == 1
            accepted[0].close()
            await asyncio.sleep(0.05)
            await peer.get(2)
            assert len(accepted) == 2
            assert failures(peer.rig) == {}
            accepted[1].close()
    assert peer.sink.order == [0, 1, 2]


async def test_a_peer_by_ipv6(files: Files) -> None:
    files.put(PATH, DATA)
    with FaultyServer(files) as server:
        host, port = endpoint_of(server).split(":")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            theirs, ours = await asyncio.open_connection(host, port)
            ours.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await theirs.readuntil(b"\r\n\r\n") + await theirs.readexactly(CHUNK))
            ours.close()
            writer.close()

        front = await asyncio.start_server(accept, "::1", 0)
        address = f"[::1]:{front.sockets[0].getsockname()[1]}"
        async with front, neighbour(server, files, address=address) as peer:
            await peer.get(3)
        assert server.requests()[0].headers["host"] == address
    assert peer.sink.order == [3]


async def test_no_proxy_stands_between_members(
    origin: FaultyServer, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with proxy() as between:
        monkeypatch.setenv("http_proxy", f"127.0.0.1:{between.port}")
        async with neighbour(origin, files) as peer:
            await peer.get(0)
    assert between.heads == []


async def test_a_full_disk_is_not_the_peers_fault(origin: FaultyServer, files: Files) -> None:
    def fail(index: int) -> None:
        raise DiskFault("no more")

    async with neighbour(origin, files) as peer:
        peer.sink.before = fail
        with pytest.raises(DiskFault):
            await peer.get(0)
        assert failures(peer.rig) == {}


async def test_a_write_that_has_begun_outlives_the_time(origin: FaultyServer, files: Files) -> None:
    async with neighbour(origin, files) as peer:
        peer.sink.before = lambda index: time.sleep(0.3)
        await peer.get(0, seconds=0.2)
        assert failures(peer.rig) == {}
    assert peer.sink.order == [0]


@pytest.mark.parametrize("fault", [Fault(stall=0), Fault(stall=CHUNK // 2)], ids=["no body", "half a body"])
async def test_a_cancel_ends_it_at_once(origin: FaultyServer, files: Files, fault: Fault) -> None:
    origin.inject(fault)
    async with neighbour(origin, files, options=PATIENT) as peer:
        task = asyncio.create_task(peer.get(0, seconds=60.0))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        assert task.cancelled()
        peer.rig.check_idle()
        assert failures(peer.rig) == {}
    assert peer.sink.order == []


async def test_a_cancel_waits_for_a_write_that_has_begun(origin: FaultyServer, files: Files) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(index: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)

    async with neighbour(origin, files) as peer:
        peer.sink.before = slow
        task = asyncio.create_task(peer.get(0))
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0.05)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert peer.sink.order == [0]


async def test_a_source_that_holds_all_turns_yields_the_next_ones(origin: FaultyServer, files: Files) -> None:
    """A slow source is waited for once; from then on a peer has its share of the turns."""
    files.put("/m.bin", DATA * 4)
    slow = threading.Event()
    origin.inject(Fault(path="/m.bin", times=None, before=lambda: slow.wait(0.1)))
    async with neighbour(origin, files) as peer:
        source = MemorySink(4 * len(DATA))
        fetching = asyncio.create_task(peer.rig.fetch(source, RangeRequest(f"{origin.endpoint}/m.bin")))
        await asyncio.sleep(0.05)
        await asyncio.gather(*(peer.get(index) for index in range(8)))
        assert len(source.order) <= 3 * QUICK.connections
        slow.set()
        await fetching
    assert len(peer.sink.order) == 8


async def test_a_host_that_asked_for_a_pause_holds_no_turn(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    origin.inject(Fault(times=4, status=503, headers={"Retry-After": "1"}))
    source = MemorySink(len(DATA))
    with FaultyServer(files) as other:
        async with neighbour(other, files) as peer:
            fetching = asyncio.create_task(peer.rig.fetch(source, RangeRequest(f"{origin.endpoint}/m.bin")))
            await asyncio.sleep(0.1)
            began = time.monotonic()
            await asyncio.gather(*(peer.get(index) for index in range(12)))
            assert time.monotonic() - began < 0.8
            assert source.order == []
            await fetching
    assert len(source.order) == 13


async def test_idle_connections_are_given_back(origin: FaultyServer, files: Files) -> None:
    async with neighbour(origin, files) as peer:
        await peer.get(0)
        peers = peer.rig.transfer._peers
        assert peers is not None
        assert len(peers._gear.connections._idle) == 1
        peer.rig.transfer._trim()
        assert peers._gear.connections._idle == []
        await peer.get(1)
