"""Chunks that are wanted from the first on: what comes first, and what that costs."""

from __future__ import annotations

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.peer import Member
from cached.swarm.actions import Fetch
from cached.swarm.bits import all_bits, bits_of, each_bit
from cached.swarm.foremost import Foremost
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits
from cached.swarm.participant import Participant
from tests.swarm.test_cluster import finish
from tests.swarm.test_participant import TREE
from tests.swarm.world import Conditions, World, everything

COUNT = 64
ALL = all_bits(COUNT)
LAYER = Conditions(chunks=256, fetch=FetchLimits(downloads=6), queue=2, in_order=True)
STEP = 0.25


def prefix(chunks: int) -> int:
    """How many chunks are here from the first on without a gap."""
    return (~chunks & (chunks + 1)).bit_length() - 1


def in_reach(world: World, within: float) -> float:
    """Run to the end, as `finish` does; returns how much of what is here can be read, on the average."""
    seen: list[float] = []

    def look() -> None:
        seen.extend(
            prefix(have) / have.bit_count()
            for node in world.nodes.values()
            if node.waited_for and node.participant is not None and (have := node.participant.have)
        )
        world.time.after(STEP, look)

    world.time.after(STEP, look)
    finish(world, within)
    return fmean(seen)


def world_of(cold: int, seed: int, *, complete: int = 0, conditions: Conditions = LAYER) -> World:
    """So many cold nodes start at once, where so many others have had it for a while."""
    world = World(conditions, seed)
    holders = [world.add(have=everything(conditions)) for _ in range(complete)]
    for _ in range(cold):
        world.add()
    for node in world.nodes.values():
        world.boot(node)
    for node in holders:
        world.start(node, wants=False)
    if holders:
        world.time.run(3.0, lambda: False)
    for node in world.nodes.values():
        if node not in holders:
            world.start(node)
    return world


@pytest.mark.parametrize("source", [15.0, 60.0], ids=["narrow source", "wide source"])
@pytest.mark.parametrize(("count", "within", "reach"), [(3, 1.15, 0.9), (16, 1.25, 0.8)])
def test_cold_nodes_read_the_source_once_and_in_order(
    count: int, within: float, reach: float, source: float
) -> None:
    conditions = Conditions(chunks=256, source=source, fetch=FetchLimits(downloads=6), queue=2, in_order=True)
    world = world_of(count, 1, conditions=conditions)
    assert in_reach(world, within) > reach
    assert world.source_reads == 1.0


@pytest.mark.parametrize(
    ("complete", "cold", "within", "reach"),
    [(1, 1, 1.05, 0.98), (3, 1, 1.05, 0.98), (1, 2, 1.15, 0.9), (3, 13, 1.1, 0.7), (1, 15, 1.45, 0.55)],
)
def test_of_what_others_hold_everything_is_asked_in_order_and_each_chunk_of_few_at_a_time(
    complete: int, cold: int, within: float, reach: float
) -> None:
    world = world_of(cold, 1, complete=complete)
    began = 3.0 / world.ideal
    assert in_reach(world, began + within) > reach
    assert world.source_reads == 0.0


def test_who_fetches_slowly_does_not_keep_his_turns_from_the_others() -> None:
    world = World(LAYER, 1)
    holders = [world.add(have=everything(LAYER)) for _ in range(2)]
    slow = world.add(up=0.05, down=0.05)
    for _ in range(8):
        world.add()
    for node in world.nodes.values():
        world.boot(node)
    for node in holders:
        world.start(node, wants=False)
    world.time.run(3.0, lambda: False)
    for node in world.nodes.values():
        if node not in holders:
            world.start(node)
    world.waiting -= 1
    slow.waited_for = False
    world.run(3.0 + 1.3 * world.ideal)
    assert all(node.finished is not None for node in world.nodes.values() if node is not slow)


@pytest.mark.parametrize("fault", ["lies", "stalls"])
def test_a_bad_peer_among_good_ones(fault: str) -> None:
    world = World(LAYER, 4)
    for number in range(16):
        setattr(world.add(), fault, number == 5)
    world.start_all()
    assert in_reach(world, 1.6) > 0.5
    assert world.source_reads <= 1.05


def test_the_coordinator_dies() -> None:
    world = world_of(16, 2)
    world.run(0.3 * world.ideal)
    world.crash(next(node for node in world.nodes.values() if node.coordinator is not None))
    assert in_reach(world, 1.8) > 0.6
    assert world.source_reads <= 1.1


def test_alone_the_first_are_read_first() -> None:
    me, other = (Member(f"10.0.0.{last}:7000") for last in (5, 9))
    limits, rng = FetchLimits(alone_reads=4), random.Random(1)
    alone = Participant(TREE, COUNT, COUNT << 20, me, "", 0b101, {}, limits, Health(), rng, in_order=True)
    alone.start(0.0, [other])
    actions = alone.coordinator_lost(5.0)
    assert [action.chunk for action in actions if isinstance(action, Fetch)] == [1, 3, 4, 5]


sets = st.frozensets(st.integers(0, COUNT - 1)).map(bits_of) | st.just(ALL)
holdings = st.dictionaries(st.sampled_from("bcdef"), sets, max_size=5)


@given(sets, holdings, st.frozensets(st.sampled_from("bcdef")))
def test_whatever_a_neighbour_can_give_something_is_asked_for(
    missing: int, holdings: dict[str, int], avoided: frozenset[str]
) -> None:
    foremost = Foremost("a", ALL)
    asked = foremost.look(missing, holdings, avoided)
    held = 0
    for chunks in holdings.values():
        held |= chunks
    assert not asked & ~(missing & held)
    assert bool(asked) == bool(missing & held)
    assert asked.bit_count() <= 24
    trusted = {member: chunks for member, chunks in holdings.items() if member not in avoided}
    shared = bits_of(chunk for chunks in trusted.values() if chunks != ALL for chunk in each_bit(chunks))
    if first := next(each_bit(missing & shared), None):
        assert asked >> first & 1
    for member, chunks in trusted.items():
        if offered := chunks & asked:
            chosen = foremost.choose(offered)
            ours = offered & ~shared if chunks == ALL else offered
            assert chosen == next(each_bit(ours or offered)), member


def test_what_only_complete_neighbours_hold_is_asked_for_by_one_each() -> None:
    names = "abcdef"
    asked = [
        Foremost(me, ALL).look(ALL, {other: 0 for other in names if other != me} | {"complete": ALL}, ())
        for me in names
    ]
    assert [chunks.bit_count() for chunks in asked] == [3] * len(names)
    assert len({chunk for chunks in asked for chunk in each_bit(chunks)}) == 3 * len(names)


def test_turns_that_are_far_behind_are_taken_by_others() -> None:
    names = "abcdef"
    for me in names:
        others = {other: 0 for other in names if other != me}
        foremost = Foremost(me, ALL << COUNT | ALL)
        complete = {"complete": ALL << COUNT | ALL}
        first = foremost.look(ALL, others | complete, ())
        asked = foremost.look(ALL << COUNT | 1, others | complete, ())
        assert asked & 1, "chunk 0 is 64 chunks behind all that are missing"
        assert first.bit_count() == 3
