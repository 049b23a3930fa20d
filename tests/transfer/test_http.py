"""Ranges over HTTP, when all goes well."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from cached.core.source import RangeRequest
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(20 * CHUNK + 123)


@pytest.mark.parametrize("size", [0, 1, 4095, CHUNK - 1, CHUNK, CHUNK + 1, 20 * CHUNK + 123])
async def test_every_size_arrives_whole(origin: FaultyServer, files: Files, size: int) -> None:
    etag = files.put("/m.bin", DATA[:size])
    sink = MemorySink(size)
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin", etag=etag))
        assert rig.received == size
    assert sink.data == DATA[:size]


async def test_a_short_chunk_after_long_ones_on_the_same_connection(
    origin: FaultyServer, files: Files
) -> None:
    """Long chunks are received by a low-water mark that a short one would never reach."""
    data = some_bytes((8 << 20) + 100)
    files.put("/m.bin", data)
    sink = MemorySink(len(data), 4 << 20)
    async with rigged(replace(QUICK, connections=1)) as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
        assert rig.errors() == {}
    assert sink.data == data


async def test_only_missing_chunks_are_asked_for(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    have = [0, 3, 4, 20]
    sink = MemorySink(len(DATA), have=have)
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
    asked = sorted(seen.span for seen in origin.requests() if seen.span)
    assert asked == [(i * CHUNK, i * CHUNK + CHUNK - 1) for i in range(21) if i not in have]


async def test_headers_go_with_every_range_and_names_may_be_of_any_script(
    origin: FaultyServer, files: Files
) -> None:
    files.put("/a b/模型 ü+%.bin", DATA)
    request = RangeRequest(
        f"{origin.endpoint}/a b/模型 ü+%25.bin?X=1 2&Y=%20", {"X-Amz-Request-Payer": "requester"}
    )
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        await rig.fetch(sink, request)
    assert sink.data == DATA
    for seen in origin.requests():
        assert seen.headers["x-amz-request-payer"] == "requester"
        assert seen.headers["accept-encoding"] == "identity"


async def test_connections_are_kept_and_bounded(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    dialled = 0
    async with rigged() as rig:
        connections = rig.transfer._gear.connections
        dial = connections._dial

        def count(endpoint: object) -> object:
            nonlocal dialled
            dialled += 1
            return dial(endpoint)  # type: ignore[arg-type]

        connections._dial = count  # type: ignore[method-assign, assignment]
        for _ in range(3):
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"))
        assert 1 <= dialled <= rig.options.connections
        elsewhere = origin.endpoint.replace("127.0.0.1", "localhost")
        await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{elsewhere}/m.bin"))
        assert len(connections._idle) <= rig.options.connections


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_kept_connection_that_the_server_closed_is_no_failure(
    files: Files, monkeypatch: pytest.MonkeyPatch, noticed: bool
) -> None:
    files.put("/m.bin", DATA)
    async with rigged() as rig:
        with FaultyServer(files) as first:
            url = f"{first.endpoint}/m.bin"
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(url))
            idle = rig.transfer._gear.connections._idle
            assert idle
            for channel in idle:
                channel._sock.shutdown(socket.SHUT_RDWR)
            if not noticed:  # as when it is closed between the look and the request
                monkeypatch.setattr("cached.transfer.channel._readable", lambda sock: False)
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(url))
        assert rig.errors() == {}


async def test_what_a_server_says_unasked_is_no_answer() -> None:
    """Some balancers say 408 on a connection that idles, and close it."""
    data = some_bytes(2 * CHUNK)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            first = CHUNK if f"bytes={CHUNK}-".encode() in head else 0
            said = f"Content-Range: bytes {first}-{first + CHUNK - 1}/{len(data)}\r\nContent-Length: {CHUNK}"
            writer.write(f"HTTP/1.1 206 Partial Content\r\n{said}\r\n\r\n".encode())
            writer.write(data[first : first + CHUNK])
            await writer.drain()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    sink = MemorySink(len(data))
    sink.before = lambda index: time.sleep(0.02)  # until it has come
    async with server:
        async with rigged(replace(QUICK, connections=1)) as rig:
            await rig.fetch(sink, RangeRequest(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
            assert rig.errors() == {}
        await asyncio.sleep(0.05)  # until the server has noticed
    assert sink.data == data


async def test_many_fetches_at_once(origin: FaultyServer, files: Files) -> None:
    blobs = {f"/{i}.bin": some_bytes(3 * CHUNK + i, i) for i in range(40)}
    for path, data in blobs.items():
        files.put(path, data)
    sinks = {path: MemorySink(len(data)) for path, data in blobs.items()}
    async with rigged() as rig:
        async with asyncio.TaskGroup() as group:
            for path, sink in sinks.items():
                group.create_task(rig.fetch(sink, RangeRequest(f"{origin.endpoint}{path}")))
        buffers = rig.transfer._gear.buffers
        assert buffers.idle <= rig.options.connections
    assert all(sinks[path].data == data for path, data in blobs.items())


async def test_connections_and_memory_go_back_when_nothing_happens(
    origin: FaultyServer, files: Files
) -> None:
    files.put("/m.bin", DATA)
    async with rigged() as rig:
        await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"))
        gear = rig.transfer._gear
        assert gear.connections._idle
        assert gear.buffers.idle
        rig.transfer._trim()
        assert not gear.connections._idle
        assert not gear.buffers.idle
