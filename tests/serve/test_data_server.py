from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Busy, DiskFault, NotConfigured
from cached.serve.peer.data.server import DataOptions, DataServer, plain_address
from cached.store.layout import Layout
from cached.telemetry.metrics import Metrics
from tests.store.disk import put
from tests.store.house import MIB

from .data_house import (
    PART,
    PART_DATA,
    SECRET,
    STRANGER,
    WHOLE,
    WHOLE_DATA,
    Client,
    FileShelf,
    request,
    serving,
    started,
)


@pytest.fixture
def large(tmp_path: Path) -> FileShelf:
    """A file that no socket's buffers can hold."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(48 * MIB)
    return FileShelf(path)


def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    due = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < due
        time.sleep(0.005)


def threads() -> int:
    return sum(thread.name.startswith("cached-data") for thread in threading.enumerate())


def idle(server: DataServer) -> int:
    return sum(one.idle_since is not None for one in server._crowd._counted)


async def test_ranges_of_a_complete_blob(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house:
        size = len(WHOLE_DATA)
        with house.client() as client:
            for first, last in [
                (0, 0),
                (0, MIB - 1),
                (MIB - 5, MIB + 5),
                (size - 1, size - 1),
                (0, size - 1),
            ]:
                answer = client.ask(WHOLE, first, last)
                assert answer.status == 206
                assert answer.body == WHOLE_DATA[first : last + 1]
                assert answer.fields["Content-Range"] == f"bytes {first}-{last}/{size}"
                assert "Server" not in answer.fields
        sent = 1 + MIB + 11 + 1 + size
        eventually(lambda: house.server.sent == {"127.0.0.1": sent})
        assert house.metrics.registry.get_sample_value("cached_peer_sent_bytes_total") == sent


async def test_a_chunk_is_served_as_soon_as_it_is_verified(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house:
        stage = house.shelf.store._filling.open_stage(PART)
        assert stage is not None
        with house.client() as client:
            assert client.ask(PART, 0, MIB - 1).body == PART_DATA[:MIB]
            assert client.ask(PART, 2 * MIB, 3 * MIB - 1).body == PART_DATA[2 * MIB : 3 * MIB]
            for first, last in [(MIB, 2 * MIB - 1), (0, MIB), (MIB - 1, MIB), (3 * MIB, 3 * MIB + 76)]:
                answer = client.ask(PART, first, last)
                assert (answer.status, answer.body) == (404, b"not here yet\n")
            put(stage, PART_DATA, [1])
            assert client.ask(PART, 0, 3 * MIB - 1).body == PART_DATA[: 3 * MIB]
        assert house.refused("missing") == 4


async def test_what_is_not_shared_is_not_here(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house:
        with house.client() as client:
            answers = {client.ask(blob, 0, 9).body for blob in (SECRET, STRANGER)}
            heads = {client.ask(blob, 0, 9, method="HEAD").status for blob in (SECRET, STRANGER)}
            assert (answers, heads) == ({b"not here\n"}, {404})
            house.shelf.shared.remove(WHOLE)
            assert client.ask(WHOLE, 0, 9).status == 404


async def test_head_tells_sizes(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house, house.client() as client:
        client.send(request(PART, None, method="HEAD"))
        answer = client.answer(head=True)
        assert (answer.status, answer.fields["Content-Length"]) == (200, str(len(PART_DATA)))
        assert client.ask(PART, 5, 9, method="HEAD").fields["Content-Range"] == f"bytes 5-9/{len(PART_DATA)}"
        assert client.ask(PART, MIB, MIB, method="HEAD").status == 404
        assert client.ask(PART, 0, 0).body == PART_DATA[:1], "no HEAD left a body behind"


async def test_beyond_the_blob(tmp_path: Path) -> None:
    async with serving(tmp_path / "root") as house, house.client() as client:
        size = len(WHOLE_DATA)
        for first, last in [(size, size), (0, size), (size - 1, size), (10**17, 10**18 - 1)]:
            answer = client.ask(WHOLE, first, last)
            assert (answer.status, answer.fields["Content-Range"]) == (416, f"bytes */{size}")
        assert client.ask(WHOLE, 0, 0).status == 206


def test_a_range_has_a_bound(large: FileShelf) -> None:
    with started(large, options=DataOptions(longest=MIB)) as (_, port), Client(port) as client:
        assert client.ask(WHOLE, 0, MIB).status == 400
        assert client.ask(WHOLE, 1, MIB).status == 206


async def test_a_download_goes_on_through_commit_and_eviction(tmp_path: Path) -> None:
    async with serving(tmp_path / "root", DataOptions(bandwidth=8 * MIB)) as house:
        store = house.shelf.store
        with house.client() as client:
            client.send(request(WHOLE, f"bytes=0-{len(WHOLE_DATA) - 1}"))
            eventually(lambda: house.server.sent)
            record = store.ref("model")
            assert record is not None
            await store.evict(record.tree)
            answer = await asyncio.to_thread(client.answer)
            assert answer.body == WHOLE_DATA
            assert client.ask(WHOLE, 0, 0).status == 404


async def test_a_blob_that_was_cut_short_by_others_ends_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path / "root", DataOptions(bandwidth=2 * MIB)) as house, house.client() as client:
        client.send(request(WHOLE, f"bytes=0-{len(WHOLE_DATA) - 1}"))
        eventually(lambda: house.server.sent)
        place = Layout(house.shelf.store.root).blob(WHOLE)
        place.chmod(0o644)
        with place.open("r+b") as file:
            file.truncate(0)
        with pytest.raises((EOFError, ConnectionError)):
            client.answer()


def test_a_disk_that_fails_has_nothing_here(large: FileShelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(blob: Digest, offset: int, length: int) -> int | None:
        raise DiskFault("opening blob failed: Input/output error")

    monkeypatch.setattr(large, "open", fail)
    with started(large) as (_, port), Client(port) as client:
        answer = client.ask(WHOLE, 0, 0)
        assert (answer.status, answer.body) == (404, b"not here\n")


def test_requests_one_after_another_and_all_at_once(large: FileShelf) -> None:
    with started(large) as (_, port), Client(port) as client:
        client.send(b"".join(request(WHOLE, f"bytes=0-{last}") for last in range(20)))
        assert [len(client.answer().body) for _ in range(20)] == list(range(1, 21))
        client.send(request(WHOLE, "bytes=0-6") * 2 + request(WHOLE, "bytes=0-7", "Connection: close") * 2)
        client.done()
        assert [len(client.answer().body) for _ in range(3)] == [7, 7, 8]
        assert client.is_over()


def test_a_client_that_sends_no_more_still_gets_its_answer(large: FileShelf) -> None:
    with started(large) as (_, port), Client(port) as client:
        client.send(request(WHOLE, f"bytes=0-{8 * MIB - 1}"))
        client.done()
        assert len(client.answer().body) == 8 * MIB
        assert client.is_over()


def test_when_enough_is_under_way(large: FileShelf) -> None:
    metrics = Metrics()
    options = DataOptions(uploads=1, bandwidth=256 << 10, patience=0.5)
    with started(large, metrics=metrics, options=options) as (_, port), Client(port) as one:
        one.send(request(WHOLE, f"bytes=0-{8 * MIB - 1}"))
        eventually(lambda: large.loads[-1:] == [1])
        with Client(port) as two, Client(port) as three:
            two.send(request(WHOLE, "bytes=0-9"))
            eventually(lambda: 2 in large.loads)
            for answer in (three.ask(WHOLE, 0, 9), two.answer()):  # no place to wait; waited in vain
                assert (answer.status, answer.fields["Retry-After"]) == (503, "1")
            assert metrics.registry.get_sample_value("cached_peer_uploads") == 1
            one.sock.close()
            eventually(lambda: large.loads[-1] == 0)
            assert two.ask(WHOLE, 0, 9).status == 206, "the connection was kept"
        assert metrics.registry.get_sample_value(
            "cached_peer_refused_requests_total", {"reason": "full"}
        ) == 2  # fmt: skip


def test_bandwidth_is_shared_by_all(large: FileShelf) -> None:
    with started(large, options=DataOptions(bandwidth=4 * MIB)) as (server, port):
        begun = time.monotonic()
        clients = [Client(port) for _ in range(3)]
        for client in clients:
            client.send(request(WHOLE, f"bytes=0-{MIB - 1}"))
        taken = [len(client.answer().body) for client in clients]
        seconds = time.monotonic() - begun
        for client in clients:
            client.sock.close()
        assert taken == [MIB] * 3
        assert 0.6 < seconds < 10
        eventually(lambda: server.sent == {"127.0.0.1": 3 * MIB})


def test_who_reads_nothing_is_left(large: FileShelf) -> None:
    with started(large, options=DataOptions(stall=0.2)) as (_, port), Client(port) as client:
        client.send(request(WHOLE, f"bytes=0-{48 * MIB - 1}"))
        eventually(lambda: large.loads[-1:] == [1])
        eventually(lambda: large.loads[-1] == 0)
        with pytest.raises((EOFError, ConnectionError)):
            client.answer()


def test_who_reads_too_slowly_is_left(large: FileShelf) -> None:
    with (
        started(large, options=DataOptions(stall=0.5, min_rate=64 * MIB)) as (_, port),
        Client(port) as client,
    ):
        client.send(request(WHOLE, f"bytes=0-{48 * MIB - 1}"))
        taken = 0
        with suppress(EOFError, ConnectionError):
            while True:  # never silent for half a second, and some 10 MiB/s
                taken += len(client._more())
                time.sleep(0.005)
        assert taken < 48 * MIB
        eventually(lambda: large.loads[-1] == 0)


def test_one_address_cannot_have_all_connections(large: FileShelf) -> None:
    options = DataOptions(uploads=1)
    half = options.connections // 2
    with started(large, options=options) as (server, port):
        first, *clients = [Client(port) for _ in range(half)]
        with first:
            assert first.ask(WHOLE, 0, 0).status == 206
            eventually(lambda: idle(server) == half)
            for client in clients:
                assert client.ask(WHOLE, 0, 0).status == 206
            eventually(lambda: idle(server) == half)
            with Client(port) as late, Client(port, source="127.0.0.2") as other:
                assert late.ask(WHOLE, 0, 0).status == 206
                assert other.ask(WHOLE, 0, 0).status == 206
                assert first.is_over(), "who was idle longest made room"
                for client in clients:
                    assert client.ask(WHOLE, 0, 0).status == 206
        for client in clients:
            client.sock.close()


def test_who_is_at_work_makes_no_room(large: FileShelf) -> None:
    options = DataOptions(uploads=1, bandwidth=1 << 20)
    half = options.connections // 2
    with started(large, options=options) as (server, port):
        clients = [Client(port) for _ in range(half)]
        for client in clients:
            client.send(b"GET ")  # a request has begun
        eventually(lambda: threads() == half + 1 and idle(server) == 0)
        with Client(port) as late, Client(port, source="127.0.0.2") as other:
            assert late.is_over()
            assert other.ask(WHOLE, 0, 0).status == 206
        for client in clients:
            client.sock.close()


def test_uploads_stand_back_behind_the_nodes_own_work(large: FileShelf) -> None:
    with started(large) as (_, port), Client(port) as client:
        client.ask(WHOLE, 0, 0)
    assert large.nice == 10


def test_stop_ends_everything_at_once(large: FileShelf) -> None:
    with started(large, options=DataOptions(uploads=1, bandwidth=64 << 10, patience=60)) as (server, port):
        clients = [Client(port) for _ in range(4)]
        idle, begun, sending, waiting = clients
        assert idle.ask(WHOLE, 0, 0).status == 206
        eventually(lambda: large.loads == [1, 0])
        begun.send(b"GET /v1/")
        sending.send(request(WHOLE, f"bytes=0-{8 * MIB - 1}"))
        eventually(lambda: large.loads[-1] == 1)
        waiting.send(request(WHOLE, "bytes=0-0"))
        eventually(lambda: large.loads[-1] == 2)
        before = time.monotonic()
        server.stop()
        assert time.monotonic() - before < 5
        assert threads() == 0
        assert large.loads[-1] == 0
        for client in clients:
            with client, pytest.raises((EOFError, ConnectionError)):
                client.answer()
        with pytest.raises(ConnectionError):
            Client(port)


def test_an_address_that_cannot_be_had_is_named(large: FileShelf) -> None:
    with started(large) as (_, port), pytest.raises(Busy, match=rf"127\.0\.0\.1:{port}"):
        DataServer(("127.0.0.1", port), large, None, Metrics(), DataOptions()).start()
    with pytest.raises(NotConfigured, match=r"192\.0\.2\.1:7401"):
        DataServer(("192.0.2.1", 7401), large, None, Metrics(), DataOptions()).start()
    with pytest.raises(NotConfigured, match=r"no\.such\.host\.invalid:7401"):
        DataServer(("no.such.host.invalid", 7401), large, None, Metrics(), DataOptions()).start()


@pytest.mark.parametrize(("listen", "dial"), [("::", "127.0.0.1"), ("::", "::1"), ("0.0.0.0", "127.0.0.1")])
def test_all_addresses_of_a_node(large: FileShelf, listen: str, dial: str) -> None:
    server = DataServer((listen, 0), large, None, Metrics(), DataOptions())
    port = server.start()
    try:
        with socket.create_connection((dial, port), timeout=5) as sock:
            sock.sendall(request(WHOLE, "bytes=0-0"))
            answer = b""
            while not answer.endswith(b"\r\n\r\n\0"):
                answer += sock.recv(100)
        eventually(lambda: server.sent == {dial: 1})
    finally:
        server.stop()


def test_addresses_are_shown_as_one_writes_them() -> None:
    assert plain_address("::ffff:10.1.2.3") == "10.1.2.3"
    assert plain_address("fe80::1%eth0") == "fe80::1"
