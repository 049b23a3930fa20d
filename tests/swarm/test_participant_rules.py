"""A participant holds its promises whatever it is told, in whatever order."""

from __future__ import annotations

import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from cached.core.peer import Member
from cached.swarm.actions import (
    Action,
    Cancel,
    ChooseCoordinator,
    Complete,
    Failure,
    Fetch,
    FetchAllYourself,
    SendCoordinator,
    TellHashes,
)
from cached.swarm.bits import each_bit
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits
from cached.swarm.messages import VERSION, FromCoordinator, Grant, Hello, Holding, NeighbourInfo, Welcome
from cached.swarm.participant import Participant
from tests.swarm.strategies import (
    ALL,
    COUNT,
    ME,
    MEMBERS,
    TREE,
    any_chunks,
    chunks,
    from_coordinators,
    hash_of,
    hashes_of,
    holdings,
    members,
    seconds,
    steps,
)

_LIMITS = FetchLimits()
_FAULTS = [failure for failure in Failure if failure is not Failure.SOURCE]


class AnyNode(RuleBasedStateMachine):
    """Things happen at random. flights: what was asked for and has not ended; granted: what may be read."""

    @initialize(
        seed=st.integers(0, 1 << 32), have=chunks, told=chunks, wants=st.booleans(), in_order=st.booleans()
    )
    def begin(self, seed: int, have: int, told: int, wants: bool, in_order: bool) -> None:
        self.now = 100.0
        self.health = Health()
        self.flights: set[tuple[int, str | None]] = set()
        self.granted = 0
        self.alone = False
        self.node = Participant(
            TREE,
            COUNT,
            COUNT << 20,
            Member(ME),
            ME,
            have,
            hashes_of(have & told),
            _LIMITS,
            self.health,
            random.Random(seed),
            wants=wants,
            in_order=in_order,
        )
        self._do(self.node.start(self.now, [Member(member) for member in MEMBERS]))

    @rule(message=from_coordinators)
    def told(self, message: FromCoordinator) -> None:
        if isinstance(message, Grant):
            self.granted |= message.chunks
        self._do(self.node.told(self.now, message))

    @rule(named=st.lists(members, unique=True), held=chunks)
    def welcome(self, named: list[str], held: int) -> None:
        """A swarm as it is meant to be; some neighbours are not named yet."""
        infos = tuple(NeighbourInfo(Member(member), member) for member in named)
        self._do(self.node.told(self.now, Welcome(VERSION, 0.1, hashes_of(ALL), infos)))
        for member in MEMBERS[3:]:
            self._do(self.node.connected(self.now, member))
            self._do(self.node.heard(self.now, member, Holding(held, 0)))

    @rule(member=members)
    def connected(self, member: str) -> None:
        self._do(self.node.connected(self.now, member))

    @rule(member=members, message=holdings)
    def heard(self, member: str, message: Holding) -> None:
        self._do(self.node.heard(self.now, member, message))

    @rule(member=members)
    def disconnected(self, member: str) -> None:
        self._do(self.node.disconnected(self.now, member))

    @rule(data=st.data())
    def received(self, data: st.DataObject) -> None:
        if self.flights:
            chunk, member = data.draw(st.sampled_from(sorted(self.flights, key=str)))
            self.flights.discard((chunk, member))
            self._do(self.node.received(self.now, chunk, member, hash_of(chunk)))

    @rule(data=st.data(), why=st.sampled_from(_FAULTS))
    def failed(self, data: st.DataObject, why: Failure) -> None:
        if self.flights:
            chunk, member = data.draw(st.sampled_from(sorted(self.flights, key=str)))
            self.flights.discard((chunk, member))
            if member is None and why is not Failure.LOCAL:
                why = Failure.SOURCE
            self._do(self.node.failed(self.now, chunk, member, why))

    @rule(spoilt=any_chunks)
    def spoiled(self, spoilt: int) -> None:
        self._do(self.node.spoiled(self.now, spoilt))

    @rule()
    def coordinator_lost(self) -> None:
        self._do(self.node.coordinator_lost(self.now))

    @rule(member=members)
    def answered(self, member: str) -> None:
        self._do(self.node.answered(self.now, member))

    @rule(some=st.lists(members, unique=True))
    def members_changed(self, some: list[str]) -> None:
        self._do(self.node.members_changed(self.now, [Member(member) for member in some]))

    @rule(wait=seconds)
    def throttled(self, wait: float) -> None:
        self._do(self.node.source_throttled(self.now, wait))

    @rule(step=steps)
    def wait(self, step: float) -> None:
        self.now += step
        self._do(self.node.tick(self.now))
        assert self.node.wake_at >= self.now  # a clock goes on: at worst it ticks once more

    @rule()
    def wake(self) -> None:
        self.now = max(self.now, self.node.wake_at)
        self._do(self.node.tick(self.now))
        assert self.node.wake_at >= self.now  # a clock goes on: at worst it ticks once more

    def _do(self, actions: list[Action]) -> None:
        turned = False
        for action in actions:
            match action:
                case Fetch(chunk, member):
                    self._asks(chunk, member)
                case Cancel(chunk, member):
                    self.flights.discard((chunk, member))
                case ChooseCoordinator():
                    turned = True
                case SendCoordinator(Hello() as hello):
                    assert turned
                    assert hello.have == self.node.have
                case FetchAllYourself():
                    self.alone = True
                case TellHashes(asked):
                    assert asked
                    assert not asked & ~self.node.have
                case Complete():
                    assert self.node.have == ALL
                case _:
                    pass

    def _asks(self, chunk: int, member: str | None) -> None:
        assert not self.node.have >> chunk & 1
        assert (chunk, member) not in self.flights
        self.flights.add((chunk, member))
        if member is None:
            assert self.alone or self.granted >> chunk & 1
        else:
            assert self.node.data_address(member) is not None
            assert self.node.hash_of(chunk) is not None
            assert not self.health.banned(self.now, member)
            assert sum(other == member for _, other in self.flights) <= _LIMITS.downloads

    @invariant()
    def books_agree(self) -> None:
        node = self.node
        assert not node.have & ~ALL
        assert node.complete == (node.have == ALL)
        assert node.holdings.keys() == {info.member.address for info in node.neighbours}
        assert {(flight.chunk, flight.member) for flight in node._fetching.flying} == self.flights
        assert not node._fetching.known & ~ALL
        assert set(each_bit(node._fetching.known)) == node._fetching.hashes.keys()


_STEPS = settings(stateful_step_count=50, deadline=None)


def test_any_node() -> None:
    run_state_machine_as_test(AnyNode, settings=settings(_STEPS, max_examples=100))


@pytest.mark.slow
def test_very_many_nodes() -> None:
    run_state_machine_as_test(AnyNode, settings=settings(_STEPS, max_examples=1000))
