"""A coordinator holds its promises whatever members say, in whatever order."""

from __future__ import annotations

import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from cached.core.peer import Member
from cached.swarm.actions import Send
from cached.swarm.coordinator import Coordinator
from cached.swarm.limits import SourceLimits
from cached.swarm.messages import (
    VERSION,
    Ask,
    Bye,
    FromParticipant,
    GaveUp,
    Grant,
    Have,
    Hello,
    Refused,
    Throttled,
)
from tests.swarm.strategies import (
    ALL,
    COUNT,
    MEMBERS,
    TREE,
    few,
    from_participants,
    members,
    steps,
)

_DEGREE = 4


class AnySwarm(RuleBasedStateMachine):
    """Members come, talk and go at random. leases: who may read which chunk until when."""

    @initialize(seed=st.integers(0, 1 << 32), reads=st.integers(2, 8), rate=st.sampled_from([0.0, 0.0, 1e6]))
    def begin(self, seed: int, reads: int, rate: float) -> None:
        self.now = 100.0
        self.reads = reads
        limits = SourceLimits(reads=reads, rate=rate, degree=_DEGREE)
        self.coordinator = Coordinator(TREE, limits, random.Random(seed), 100.0)
        self.seated: set[str] = set()
        self.leases: dict[int, tuple[str, float]] = {}

    @rule(member=members, message=from_participants)
    def message(self, member: str, message: FromParticipant) -> None:
        if isinstance(message, Hello) and member not in self.seated:
            assert self.coordinator.message(self.now, member, message) == []
        self._say(member, message)

    @rule(member=members)
    def lost(self, member: str) -> None:
        self._leave(member, for_good=False)
        self._do(self.coordinator.lost(self.now, member))

    @rule(member=members, have=few)
    def join(self, member: str, have: int) -> None:
        """As a member in earnest would."""
        self._say(member, Hello(VERSION, TREE, COUNT, COUNT << 20, Member(member), member, have))
        self._say(member, Ask(4))

    @rule(step=steps)
    def wait(self, step: float) -> None:
        self.now += step
        self._do(self.coordinator.tick(self.now))
        assert self.coordinator.wake_at > self.now

    def _say(self, member: str, message: FromParticipant) -> None:
        match message:
            case Hello():
                self._leave(member, for_good=False)
                out = self.coordinator.hello(self.now, member, message)
                if Send(member, out[-1].message) in out and isinstance(out[-1].message, Refused):
                    self._do(out[:-1])
                    return
                self.seated.add(member)
                for chunk, (holder, _) in list(self.leases.items()):
                    if holder == member and (message.have | ~message.reading) >> chunk & 1:
                        del self.leases[chunk]
                self._do(out)
                return
            case Have(chunks, _) | GaveUp(chunks, _):
                for chunk, (holder, _) in list(self.leases.items()):
                    if holder == member and chunks >> chunk & 1:
                        del self.leases[chunk]
            case Bye():
                self._leave(member, for_good=True)
            case _:
                pass
        self._do(self.coordinator.message(self.now, member, message))

    def _leave(self, member: str, *, for_good: bool) -> None:
        self.seated.discard(member)
        for chunk, (holder, until) in list(self.leases.items()):
            if holder == member:
                if for_good:
                    del self.leases[chunk]
                else:
                    self.leases[chunk] = holder, min(until, self.now + 1.0)

    def _do(self, sends: list[Send]) -> None:
        for send in sends:
            assert send.member in self.seated
            if isinstance(send.message, Grant):
                grant = send.message
                assert grant.chunks
                assert not grant.chunks & ~ALL
                for chunk in range(COUNT):
                    if grant.chunks >> chunk & 1:
                        holder, until = self.leases.get(chunk, ("", 0.0))
                        assert until <= self.now, f"chunk {chunk} is {holder}'s until {until}"
                        self.leases[chunk] = send.member, self.now + grant.lease

    @invariant()
    def all_books_agree(self) -> None:
        coordinator = self.coordinator
        seats = coordinator._seats
        assert seats.keys() == self.seated
        assert coordinator.empty == (not self.seated)
        held = 0
        for seat in seats.values():
            held |= seat.have
        assert coordinator._holders.held == held
        edges = coordinator._graph.edges
        assert edges.keys() == seats.keys()
        for member, others in edges.items():
            assert member not in others
            assert len(others) <= _DEGREE
            assert all(member in edges[other] for other in others)

    @invariant()
    def a_pause_ends(self) -> None:
        assert self.coordinator._paused_until <= self.now + 60.0


AnySwarm.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestAnySwarm = AnySwarm.TestCase


def test_who_says_throttled_for_ever_stops_the_others_for_a_minute() -> None:
    coordinator = Coordinator(TREE, SourceLimits(), random.Random(1), 0.0)
    member = Member(MEMBERS[0])
    coordinator.hello(
        0.0, member.address, Hello(VERSION, TREE, COUNT, COUNT << 20, member, member.address, 0)
    )
    coordinator.message(0.0, member.address, Throttled(1e18))
    coordinator.message(0.0, member.address, Ask(4))
    granted_at = [
        now
        for now in range(1, 100)
        for send in coordinator.tick(float(now))
        if isinstance(send.message, Grant)
    ]
    assert granted_at[:1] == [60]
