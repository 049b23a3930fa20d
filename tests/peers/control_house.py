"""Two ends of the control plane on loopback: a server over swarms that record, and links to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.peers.identity import Identity
from cached.peers.links import Links
from cached.serve.peer.control.server import ControlServer
from cached.swarm.lines import Line
from cached.swarm.messages import FromCoordinator, Hello, Holding, Survey, Welcome
from cached.telemetry.metrics import Metrics

TREE = Digest.sha256(b"tree")
OTHER = Digest.sha256(b"another tree")
WELCOME = Welcome(1, 0.1, {}, ())


def hello(member: str, tree: Digest = TREE, version: int = 1) -> Hello:
    return Hello(version, tree, 8, 8000, Member(member), "127.0.0.1:9", 0b101)


async def until(true: Callable[[], object], seconds: float = 5.0) -> None:
    """Return once `true` is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not true():
        assert loop.time() < end, f"not within {seconds:g} seconds"
        await asyncio.sleep(0.005)


@dataclass
class Place:
    """A seat or a visitor, that remembers."""

    member: str
    tree: Digest
    line: Line[Any]
    said: list[Any] = field(default_factory=list)
    losses: int = 0
    fault: Exception | None = None

    def heard(self, message: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.said.append(message)

    def lost(self) -> None:
        self.losses += 1


SURVEY = Survey(3, 2, 40, 39, 1, 38, ("10.0.0.2:7400", "10.0.0.3:7400"))


class Swarms:
    """What a node offers: every seat, and visits to `TREE`."""

    def __init__(self) -> None:
        self.seats: list[Place] = []
        self.visits: list[Place] = []
        self.refuse: Exception | None = None
        self.greet = True
        self.knocks: list[str] = []

    def sit(self, member: str, hello: Hello, line: Line[FromCoordinator]) -> Place:
        if self.refuse is not None:
            raise self.refuse
        self.seats.append(Place(member, hello.tree, line, [hello]))
        if self.greet:
            line.send(WELCOME)
        return self.seats[-1]

    def visit(self, member: str, tree: Digest, line: Line[Holding]) -> Place | None:
        if tree != TREE:
            return None
        self.visits.append(Place(member, tree, line))
        line.send(Holding(0b1))
        return self.visits[-1]

    def knocked(self, member: str) -> None:
        self.knocks.append(member)

    def survey(self, tree: Digest) -> Survey | None:
        return SURVEY if tree == TREE else None


@dataclass
class Told:
    """What the callbacks of a line were told."""

    heard: list[Any] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    opened: int = 0

    def open(self) -> None:
        assert not self.heard
        self.opened += 1


@dataclass
class House:
    server: ControlServer
    swarms: Swarms
    metrics: Metrics
    address: str

    def refused(self, reason: str) -> float:
        found = self.metrics.registry.get_sample_value(
            "cached_peer_refused_requests_total", {"reason": reason}
        )
        return found or 0.0


ME = "127.0.0.1:7400"


def coordinate(links: Links, to: str, *, me: str = ME, tree: Digest = TREE) -> tuple[Line[Any], Told]:
    told = Told()
    line = links.coordinate(to, told.heard.append, told.ended.append)
    line.send(hello(me, tree))
    return line, told


def exchange(links: Links, to: str, tree: Digest = TREE) -> tuple[Line[Holding], Told]:
    told = Told()
    return links.exchange(to, tree, told.open, told.heard.append, told.ended.append), told


@asynccontextmanager
async def house(
    identity: Identity | None = None, listen: str = "127.0.0.1:0", member: Callable[[str], bool] | None = None
) -> AsyncIterator[House]:
    swarms, metrics = Swarms(), Metrics()
    server = ControlServer(listen, swarms, identity, member or (lambda address: True), metrics)
    port = await server.start()
    try:
        yield House(server, swarms, metrics, f"{listen.rpartition(':')[0]}:{port}")
    finally:
        await server.stop(0)


@asynccontextmanager
async def links(identity: Identity | None = None, me: str = ME) -> AsyncIterator[Links]:
    made = Links(Member(me), identity)
    try:
        yield made
    finally:
        await made.close()
