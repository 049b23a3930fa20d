"""Callers that mean harm, or come from a later version: the server stays up, and others go on."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
import pytest

from cached._proto.v1.peer_pb2 import CoordinateRequest
from cached.peers import wire
from cached.serve.peer.control import guard, server
from cached.swarm.lines import Line
from cached.swarm.messages import Ask, Hashes, Have, Holding
from tests.peers.control_house import ME, OTHER, TREE, House, Told, coordinate, hello, house, links, until

SERVICE = "/cached.v1.PeerService"
HELLO = wire.encode_participant(hello("127.0.0.1:6666"))


@dataclass
class Scene:
    """A server, an honest member with a seat, and a hostile channel."""

    node: House
    line: Line[Any]
    told: Told
    channel: grpc.aio.Channel

    async def call(self, *messages: bytes, method: str = "Coordinate") -> grpc.StatusCode:
        """How a stream ends that says these things."""
        call = self.channel.stream_stream(f"{SERVICE}/{method}", None, None)(None)
        try:
            for message in messages:
                await call.write(message)
            while isinstance(await call.read(), bytes):
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        async with asyncio.timeout(8):
            code = await call.code()
        assert isinstance(code, grpc.StatusCode)
        return code


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with house() as node, links() as mine, grpc.aio.insecure_channel(node.address) as channel:
        line, told = coordinate(mine, node.address)
        await until(lambda: told.heard)
        yield Scene(node, line, told, channel)
        line.send(Ask(77))
        await until(lambda: node.swarms.seats[0].said[-1] == Ask(77))
        assert told.ended == [], "others are not affected"
        assert node.swarms.seats[0].losses == 0
        mine.knock(node.address, lambda: told.heard.append("there"))
        await until(lambda: told.heard[-1] == "there")


@pytest.mark.parametrize("method", ["Coordinate", "Exchange"])
@pytest.mark.parametrize(
    "first",
    [
        b"\xff\xff\xff",
        b"",
        wire.encode_participant(Ask(1)),
        wire.encode_exchange_request(Holding(1)),
        CoordinateRequest(hello=CoordinateRequest.Hello(version=1, tree="../../x")).SerializeToString(),
    ],
)
async def test_malformed_beginnings(scene: Scene, method: str, first: bytes) -> None:
    assert await scene.call(first, method=method) is grpc.StatusCode.INVALID_ARGUMENT
    assert scene.node.refused("malformed") == 1


async def test_malformed_later(scene: Scene) -> None:
    opened = wire.encode_exchange_request(wire.Open(TREE, "127.0.0.1:6666"))
    assert await scene.call(HELLO, b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT
    assert await scene.call(opened, opened, method="Exchange") is grpc.StatusCode.INVALID_ARGUMENT
    assert scene.node.swarms.seats[1].losses == scene.node.swarms.visits[0].losses == 1
    assert scene.node.refused("malformed") == 2


async def test_words_of_a_later_version_are_passed_over(scene: Scene) -> None:
    call = scene.channel.stream_stream(f"{SERVICE}/Coordinate", None, None)(None)
    for message in (HELLO, b"\xfa\x01\x02hi", wire.encode_participant(Ask(4))):
        await call.write(message)
    await until(lambda: len(scene.node.swarms.seats) == 2 and scene.node.swarms.seats[1].said[1:] == [Ask(4)])
    call.cancel()
    await until(lambda: scene.node.swarms.seats[1].losses)


async def test_another_version_of_exchange(scene: Scene) -> None:
    opened = wire.encode_exchange_request(wire.Open(TREE, ME, 2))
    assert await scene.call(opened, method="Exchange") is grpc.StatusCode.FAILED_PRECONDITION


async def test_no_such_method(scene: Scene) -> None:
    assert await scene.call(b"", method="Steal") is grpc.StatusCode.UNIMPLEMENTED


async def test_too_large(scene: Scene) -> None:
    status = await scene.call(HELLO, bytes(5 * 2**20))
    assert status in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
    await until(lambda: scene.node.swarms.seats[1].losses)


async def test_who_says_nothing_is_sent_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FIRST_SECONDS", 0.2)
    assert await scene.call() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_too_many_streams_of_one_host(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "_MOST_PER_HOST", 20)
    calls = [scene.channel.stream_stream(f"{SERVICE}/Coordinate", None, None)(None) for _ in range(19)]
    for call in calls:
        await call.write(HELLO.replace(b":6666", f":{6000 + calls.index(call)}".encode()))
    await until(lambda: len(scene.node.swarms.seats) == 20)
    assert await scene.call(HELLO) is grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        call.cancel()
    await until(lambda: all(seat.losses for seat in scene.node.swarms.seats[1:]))
    monkeypatch.undo()
    assert await scene.call(HELLO, b"\xff\xff") is grpc.StatusCode.INVALID_ARGUMENT, (
        "the places are free again"
    )


async def test_a_flood(scene: Scene) -> None:
    """Much faster than this node can hear it: nothing piles up here."""
    call = scene.channel.stream_stream(f"{SERVICE}/Coordinate", None, None)(None)
    await call.write(HELLO)
    await until(lambda: len(scene.node.swarms.seats) == 2)
    seat = scene.node.swarms.seats[1]
    seat.heard = lambda message: None  # type: ignore[method-assign]  # or the test itself would pile up
    large = wire.encode_participant(Have(1, dict.fromkeys(range(4096), bytes(32))))
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss

    async def flood() -> None:
        for _ in range(200):
            await call.write(large)

    flooding = asyncio.create_task(flood())
    for number in range(20):
        scene.line.send(Ask(number))
        await asyncio.sleep(0.01)
    await until(lambda: scene.node.swarms.seats[0].said[-1] == Ask(19), 2)
    await flooding
    assert process.memory_info().rss - before < 64 * 2**20
    call.cancel()
    await until(lambda: seat.losses)


async def test_who_never_reads_holds_no_more_than_the_bound(scene: Scene) -> None:
    call = scene.channel.stream_stream(f"{SERVICE}/Coordinate", None, None)(None)
    await call.write(HELLO)
    await until(lambda: len(scene.node.swarms.seats) == 2)
    seat = scene.node.swarms.seats[1]
    large = Hashes(dict.fromkeys(range(30_000), bytes(32)))
    for _ in range(100):
        seat.line.send(large)
    await until(lambda: seat.losses)
    call.cancel()


async def test_noise(scene: Scene) -> None:
    """Streams of spoiled messages end, one by one, with a status that says so."""
    rng = random.Random(7)
    good = {
        "Coordinate": [
            HELLO,
            wire.encode_participant(Ask(1)),
            wire.encode_participant(Have(7, {1: bytes(32)})),
        ],
        "Exchange": [
            wire.encode_exchange_request(wire.Open(OTHER, "127.0.0.1:6666")),
            wire.encode_exchange_request(Holding(5, 1)),
        ],
    }

    async def one(method: str, messages: list[bytes]) -> None:
        call = scene.channel.stream_stream(f"{SERVICE}/{method}", None, None)(None)
        try:
            for message in messages:
                await call.write(message)
            await call.done_writing()
            while isinstance(await call.read(), bytes):
                pass
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass
        async with asyncio.timeout(8):
            await call.code()

    for _ in range(150):
        method = rng.choice(list(good))
        messages = [bytearray(message) for message in good[method]]
        for _ in range(rng.randrange(1, 5)):
            spoiled = rng.choice(messages)
            spoiled[rng.randrange(len(spoiled))] = rng.randrange(256)
        await one(method, [bytes(message) for message in messages])
    counted = scene.node.metrics.registry.get_sample_value
    for method in good:
        assert counted("cached_rpcs_total", {"method": method, "code": "INVALID_ARGUMENT"})
        assert not counted("cached_rpcs_total", {"method": method, "code": "INTERNAL"})
    await until(lambda: all(seat.losses for seat in scene.node.swarms.seats[1:]))


async def test_many_streams_at_once(scene: Scene) -> None:
    """Callers that come and go: nothing of them is left."""

    async def visit(number: int) -> None:
        call = scene.channel.stream_stream(f"{SERVICE}/Coordinate", None, None)(None)
        await call.write(HELLO.replace(b":6666", f":{1000 + number}".encode()))
        if number % 3:
            await call.read()
        call.cancel()

    await asyncio.gather(*(visit(number) for number in range(300)))
    await until(lambda: all(seat.losses for seat in scene.node.swarms.seats[1:]))
    await until(lambda: scene.node.server.streams == 1)
