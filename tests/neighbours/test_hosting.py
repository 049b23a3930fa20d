"""When a node grants reads of a tree that it coordinates: at once, unless others may not know of it yet."""

from __future__ import annotations

import asyncio
import random

import pytest

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.engine.swarm.hosting import Hosting
from cached.swarm.limits import SourceLimits
from cached.swarm.messages import VERSION, Ask, FromCoordinator, Grant, Hello
from cached.swarm.rendezvous import ranking
from cached.telemetry.metrics import Metrics

NAMES = tuple(f"10.0.0.{last}:7000" for last in range(1, 6))
ME, *OTHERS = NAMES
SETTLE = 0.3


class Heard:
    """The end of a line at which a member would listen."""

    def __init__(self) -> None:
        self.messages: list[FromCoordinator] = []

    def send(self, message: FromCoordinator) -> None:
        self.messages.append(message)

    def close(self) -> None:
        pass


def coordinated_by(first: str, second: str) -> Digest:
    """A tree whose ranking begins so."""
    trees = (Digest.sha256(b"%d" % number) for number in range(10_000))
    return next(tree for tree in trees if ranking(tree, NAMES)[:2] == [first, second])


def grants_at_once(hosting: Hosting, tree: Digest) -> bool:
    line = Heard()
    member = Member(OTHERS[0])
    seat = hosting.sit(member.address, Hello(VERSION, tree, 4, 4 << 20, member, member.address, 0), line)
    seat.heard(Ask(4))
    granted = any(isinstance(message, Grant) for message in line.messages)
    seat.lost()
    return granted


async def settled(monkeypatch: pytest.MonkeyPatch, others: list[str]) -> Hosting:
    """One that knows these others for long enough."""
    monkeypatch.setattr("cached.engine.swarm.hosting._SETTLE", SETTLE)
    hosting = Hosting(ME, SourceLimits(), random.Random(1), Metrics())
    hosting.members_changed(tuple(others))
    await asyncio.sleep(SETTLE)
    return hosting


async def test_not_right_after_the_start() -> None:
    hosting = Hosting(ME, SourceLimits(), random.Random(1), Metrics())
    assert not grants_at_once(hosting, coordinated_by(ME, OTHERS[0]))
    hosting.members_changed(tuple(OTHERS))
    assert not grants_at_once(hosting, coordinated_by(ME, OTHERS[0]))


async def test_a_newcomer_delays_nothing_that_was_for_this_node_to_coordinate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *known, newcomer = OTHERS
    hosting = await settled(monkeypatch, known)
    hosting.members_changed((*known, newcomer))
    hosting.members_changed(tuple(known))
    hosting.members_changed((*known, newcomer))
    assert grants_at_once(hosting, coordinated_by(ME, newcomer))
    assert not grants_at_once(hosting, coordinated_by(newcomer, ME)), "it came and went, and came again"
    assert not grants_at_once(hosting, coordinated_by(known[0], ME)), "whoever comes here has failed there"


async def test_what_a_member_leaves_behind_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    *staying, leaver = OTHERS
    hosting = await settled(monkeypatch, OTHERS)
    hosting.members_changed(tuple(staying))
    assert not grants_at_once(hosting, coordinated_by(leaver, ME))
    assert grants_at_once(hosting, coordinated_by(ME, leaver))
    await asyncio.sleep(SETTLE)
    assert grants_at_once(hosting, coordinated_by(leaver, ME))
