"""The other end is gone without a word: its node lost power, or the network between."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator

import pytest

from cached.peers import channels
from cached.peers.tuning import CLIENT, SERVER
from cached.serve.peer.control import server
from cached.swarm.messages import Ask
from tests.peers.control_house import coordinate, exchange, house, links, until


class Wire:
    """Between a client and a server on loopback; once cut, what is sent vanishes and nobody is told."""

    def __init__(self, to: str) -> None:
        self._to = int(to.rpartition(":")[2])
        self._cut = False
        self._writers: list[asyncio.StreamWriter] = []

    def cut(self) -> None:
        self._cut = True

    async def __aenter__(self) -> str:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers += [writer, far_writer]
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if not self._cut:
                    writer.write(data)
        if not self._cut:
            writer.close()


async def _both_notice(within: float) -> float:
    """Seconds until both ends know."""
    async with house() as node, links() as mine:
        wire = Wire(node.address)
        async with wire as address:
            line, told = coordinate(mine, address)
            _, visit = exchange(mine, address)
            await until(lambda: told.heard and visit.heard)
            wire.cut()
            line.send(Ask(1))
            begun = time.monotonic()
            await until(
                lambda: (
                    told.ended
                    and visit.ended
                    and node.swarms.seats[0].losses
                    and node.swarms.visits[0].losses
                ),
                within,
            )
            took = time.monotonic() - begun
            assert node.swarms.seats[0].said[1:] == []
        _, again = coordinate(mine, node.address)
        await until(lambda: again.heard)
        return took


async def test_both_ends_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """As below, ten times as fast."""
    for module, name, options in ((channels, "CLIENT", CLIENT), (server, "SERVER", SERVER)):
        fast = [
            (key, value // 10 if "keepalive" in key or "ping_timeout" in key else value)
            for key, value in options
        ]
        monkeypatch.setattr(module, name, fast)
    await _both_notice(1.5)


@pytest.mark.slow
async def test_both_ends_notice_within_ten_seconds() -> None:
    await _both_notice(10)


@pytest.mark.slow
async def test_quiet_streams_stay() -> None:
    """Pings without a word between them: neither end takes them for abuse."""
    async with house() as node, links() as mine:
        line, told = coordinate(mine, node.address)
        _, visit = exchange(mine, node.address)
        await until(lambda: told.heard and visit.heard)
        await asyncio.sleep(60)
        assert told.ended == visit.ended == []
        line.send(Ask(1))
        await until(lambda: node.swarms.seats[0].said[-1] == Ask(1))


@pytest.fixture
async def full() -> AsyncIterator[str]:
    """An address where connections are neither made nor refused: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


async def test_who_cannot_be_reached(full: str) -> None:
    async with links() as mine:
        begun = time.monotonic()
        _, told = coordinate(mine, full)
        _, visit = exchange(mine, full)
        knocked: list[bool] = []
        mine.knock(full, lambda: knocked.append(True))
        await until(lambda: told.ended and visit.ended, 5)
        assert 2 < time.monotonic() - begun < 4
        assert not knocked
        assert visit.opened == 0


async def test_a_line_to_nowhere_can_be_closed(full: str) -> None:
    async with links() as mine:
        line, told = coordinate(mine, full)
        line.close()
        await asyncio.sleep(0.05)
        begun = time.monotonic()
        await mine.close()
        assert time.monotonic() - begun < 1
        assert told.ended == []
