"""Lines between two nodes over real connections, in plaintext."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest

from cached.core.errors import Busy, Draining
from cached.peers.links import Links
from cached.swarm.bits import all_bits
from cached.swarm.messages import Ask, Bye, Hashes, Have, Holding, Refused
from tests.peers.control_house import (
    ME,
    OTHER,
    TREE,
    WELCOME,
    House,
    coordinate,
    exchange,
    hello,
    house,
    links,
    until,
)


@pytest.fixture
async def node() -> AsyncIterator[House]:
    async with house() as found:
        yield found


@pytest.fixture
async def mine(node: House) -> AsyncIterator[Links]:
    """Closed before the server stops."""
    async with links() as made:
        yield made


async def test_a_seat_and_what_is_said_on_both_sides(node: House, mine: Links) -> None:
    line, told = coordinate(mine, node.address)
    for ready in range(200):
        line.send(Ask(ready))
    await until(lambda: told.heard and node.swarms.seats[0].said[-1] == Ask(199))
    [seat] = node.swarms.seats
    assert (seat.member, seat.tree) == (ME, TREE)
    assert seat.said == [hello(ME), *map(Ask, range(200))]
    for number in range(200):
        seat.line.send(Hashes({number: bytes(32)}))
    await until(lambda: len(told.heard) == 201)
    assert told.heard == [WELCOME, *(Hashes({number: bytes(32)}) for number in range(200))]
    line.send(Bye())
    line.close()
    line.close()
    line.send(Ask(1))
    await until(lambda: seat.losses)
    assert seat.said[-1] == Bye(), "what was queued before close still arrives"
    assert told.ended == []


async def test_neighbours_exchange(node: House, mine: Links) -> None:
    line, told = exchange(mine, node.address)
    await until(lambda: told.opened and told.heard)
    [visitor] = node.swarms.visits
    assert told.heard == [Holding(0b1)]
    line.send(Holding(all_bits(2**20), 7))
    visitor.line.send(Holding(1 << 99))
    await until(lambda: visitor.said and len(told.heard) == 2)
    assert visitor.said == [Holding(all_bits(2**20), 7)]
    visitor.line.close()
    await until(lambda: told.ended)
    assert (visitor.losses, told.opened, len(told.ended)) == (1, 1, 1)


async def test_no_part_in_that_swarm(node: House, mine: Links) -> None:
    _, told = exchange(mine, node.address, OTHER)
    await until(lambda: told.ended)
    assert told.opened == 0
    assert "NOT_FOUND: this node takes no part" in told.ended[0]


async def test_a_coordinator_that_refuses(node: House, mine: Links) -> None:
    node.swarms.greet = False
    _, told = coordinate(mine, node.address)
    await until(lambda: node.swarms.seats)
    [seat] = node.swarms.seats
    seat.line.send(Refused("no"))
    seat.line.close()
    await until(lambda: told.ended)
    assert told.heard == [Refused("no")]
    assert seat.losses == 1


@pytest.mark.parametrize(
    ("error", "status"), [(Busy("too many"), "RESOURCE_EXHAUSTED"), (Draining("stopping"), "UNAVAILABLE")]
)
async def test_no_seat(node: House, mine: Links, error: Exception, status: str) -> None:
    node.swarms.refuse = error
    _, told = coordinate(mine, node.address)
    await until(lambda: told.ended)
    assert told.ended == [f"{status}: {error}"]
    node.swarms.refuse = None
    _, told = coordinate(mine, node.address)
    await until(lambda: told.heard)


async def test_another_version_is_refused_politely(node: House, mine: Links) -> None:
    line, told = coordinate(mine, node.address)
    line.close()
    line = mine.coordinate(node.address, told.heard.append, told.ended.append)
    line.send(hello(ME, version=7))
    await until(lambda: told.ended)
    assert told.heard == [Refused("this node speaks version 1 of the swarm's messages")]


async def test_a_newer_stream_takes_the_place_of_an_older(node: House, mine: Links) -> None:
    _, first = coordinate(mine, node.address)
    await until(lambda: first.heard)
    order: list[str] = []
    sit, old = node.swarms.sit, node.swarms.seats[0]
    old.lost = lambda: order.append("lost")  # type: ignore[method-assign]
    node.swarms.sit = lambda *some: (order.append("sit"), sit(*some))[1]  # type: ignore[method-assign, func-returns-value]
    other, second = coordinate(mine, node.address)
    await until(lambda: second.heard and first.ended)
    assert order == ["lost", "sit"]
    assert "ABORTED" in first.ended[0]
    other.send(Ask(3))
    await until(lambda: node.swarms.seats[1].said[-1] == Ask(3))
    assert node.swarms.seats[1].losses == 0


async def test_nothing_is_called_from_inside_send_nor_after_close(node: House, mine: Links) -> None:
    line, told = coordinate(mine, node.address)
    await until(lambda: told.heard)
    [seat] = node.swarms.seats
    for _ in range(5000):
        line.send(Ask(1))
    assert told.ended == []
    await until(lambda: told.ended)
    assert "does not keep up" in told.ended[0]
    await until(lambda: seat.losses)

    line, told = coordinate(mine, node.address)
    await until(lambda: len(node.swarms.seats) == 2)
    node.swarms.seats[1].line.send(Hashes({}))
    line.close()
    await until(lambda: node.swarms.seats[1].losses)
    assert told.heard in ([], [WELCOME])
    assert told.ended == []


async def test_a_member_that_does_not_read_loses_its_seat(node: House, mine: Links) -> None:
    _, told = coordinate(mine, node.address)
    await until(lambda: told.heard)
    [seat] = node.swarms.seats
    for _ in range(5000):
        seat.line.send(Hashes({}))
    assert seat.losses == 0
    await until(lambda: seat.losses and told.ended)
    assert "RESOURCE_EXHAUSTED" in told.ended[0]


async def test_a_bug_in_a_machine_ends_that_stream_only(
    node: House, mine: Links, caplog: pytest.LogCaptureFixture
) -> None:
    line, told = coordinate(mine, node.address)
    _, fine = coordinate(mine, node.address, tree=OTHER)
    await until(lambda: told.heard and fine.heard)
    [seat] = [seat for seat in node.swarms.seats if seat.tree == TREE]
    seat.fault = RuntimeError("secret words")
    line.send(Ask(1))
    await until(lambda: told.ended)
    assert told.ended[0].startswith("INTERNAL: internal error, reference ")
    assert "secret words" in caplog.text
    assert seat.losses == 1
    assert fine.ended == []

    def broken(message: object) -> None:
        raise RuntimeError("a bug")

    ended: list[str] = []
    mine.coordinate(node.address, broken, ended.append).send(hello(ME, OTHER))
    await until(lambda: ended)
    assert ended == ["a bug on this node"]


async def test_all_hashes_of_a_very_large_tree_at_once(node: House, mine: Links) -> None:
    """Half a million chunks, told to whoever joins."""
    _, told = coordinate(mine, node.address)
    await until(lambda: told.heard)
    for start in range(0, 2**19, 4096):
        node.swarms.seats[0].line.send(Hashes(dict.fromkeys(range(start, start + 4096), bytes(32))))
    await until(lambda: len(told.heard) == 129, 20)
    assert told.ended == []


async def test_nobody_listens(mine: Links) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    begun = time.monotonic()
    _, told = coordinate(mine, address)
    _, other = exchange(mine, address)
    await until(lambda: told.ended and other.ended, 2)
    assert time.monotonic() - begun < 1
    assert "UNAVAILABLE" in told.ended[0]
    assert other.opened == 0


async def test_a_failure_does_not_stand_in_the_way_of_the_next(mine: Links) -> None:
    """gRPC would wait ever longer before it tries again, and fail all calls meanwhile."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    for _ in range(12):
        _, failed = coordinate(mine, address)
        await until(failed.ended.__len__)
    answered: list[bool] = []
    mine.knock(address, lambda: answered.append(True))
    await asyncio.sleep(0.05)
    assert not answered
    async with house(listen=address):
        begun = time.monotonic()
        _, told = coordinate(mine, address)
        mine.knock(address, lambda: answered.append(True))
        await until(lambda: told.heard and answered)
        assert time.monotonic() - begun < 0.5
        await mine.close()


async def test_a_server_that_comes_back(mine: Links) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    for _ in range(3):
        await one_life(mine, address)


async def one_life(mine: Links, address: str) -> None:
    async with house(listen=address) as node:
        _, told = coordinate(mine, address)
        _, visit = exchange(mine, address)
        await until(lambda: told.heard and visit.heard)
        begun = time.monotonic()
        await node.server.stop(5)
        assert time.monotonic() - begun < 1, "streams do not hold up a stop"
        await until(lambda: told.ended and visit.ended)
        assert node.swarms.seats[0].losses == node.swarms.visits[0].losses == 1


async def test_who_accepts_and_says_nothing(mine: Links) -> None:
    """A daemon that is frozen: its kernel takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        address = f"127.0.0.1:{frozen.getsockname()[1]}"
        begun = time.monotonic()
        _, told = coordinate(mine, address)
        await until(lambda: told.ended, 5)
        assert 2 < time.monotonic() - begun < 4


async def test_closing_all_is_silent(node: House) -> None:
    async with links() as mine:
        pairs = [coordinate(mine, node.address), exchange(mine, node.address)]
        mine.knock(node.address, lambda: None)
        await until(lambda: all(told.heard for _, told in pairs))
        pairs.append(coordinate(mine, node.address, tree=OTHER))
        await mine.close()
        assert [told.ended for _, told in pairs] == [[], [], []]
        pairs[0][0].send(Have(1))
    await until(lambda: node.swarms.seats[0].losses and node.swarms.visits[0].losses)
    await node.server.stop(0)
    left = [task for task in asyncio.all_tasks() if "/cached/" in str(task.get_coro())]
    assert not left, "lines leave no tasks behind, on neither side"
