"""Whole clusters in virtual time."""

from __future__ import annotations

import random

import pytest

from tests.swarm.world import Conditions, Node, World, cold, everything

FEW = Conditions(chunks=128)
WAIT = 6.0
"""Seconds that bad peers may cost beside a tenth of the time."""


def finish(world: World, within: float) -> None:
    """Run to the end; all that are alive finish `within` so many times the ideal."""
    world.run(within * world.ideal)
    behind = [node.name for node in world.nodes.values() if node.live and node.finished is None]
    assert not behind, f"seed {world.seed}: {len(behind)} nodes have not finished, such as {behind[0]}"


def start_last(world: World, wanting: Node) -> None:
    """All others run and want nothing when `wanting` starts; all know each other."""
    for node in world.nodes.values():
        world.boot(node)
    for node in world.nodes.values():
        if node is not wanting:
            world.start(node, wants=False)
    world.time.run(1.0, lambda: False)
    world.start(wanting)


def alone(conditions: Conditions = FEW) -> float:
    world = cold(1, conditions, 1)
    finish(world, 2)
    return world.last


@pytest.mark.parametrize("seed", range(3))
def test_sixteen_cold_nodes_take_little_longer_than_one(seed: int) -> None:
    world = cold(16, FEW, seed)
    finish(world, 1.15)
    assert world.source_reads <= 1.02


def test_a_node_alone_is_as_quick_as_its_link() -> None:
    assert alone() <= 1.02 * FEW.chunks / FEW.link


def test_a_late_joiner_reads_nothing_from_the_source() -> None:
    world = cold(16, FEW, 1)
    finish(world, 1.2)
    before = world.source.moved
    began = world.time.now
    late = world.add()
    world.start(late)
    world.run(began + 1.2 * world.ideal)
    assert late.finished is not None
    assert world.source.moved == before


def test_a_lone_cold_node_finds_the_only_one_that_holds_it() -> None:
    world = World(FEW, 1)
    world.add(have=everything(FEW))
    for _ in range(14):
        world.add()
    cold_one = world.add()
    start_last(world, cold_one)
    world.run(world.time.now + 1.2 * world.ideal)
    assert cold_one.finished is not None
    assert world.source.moved == 0


@pytest.mark.parametrize("at", [0.05, 0.3, 0.6, 0.9])
def test_the_coordinator_dies(at: float) -> None:
    world = cold(16, FEW, 2)
    world.run(at * world.ideal)
    coordinator = next(node for node in world.nodes.values() if node.coordinator is not None)
    world.crash(coordinator)
    finish(world, 1.8)
    assert world.source_reads <= 1.1


@pytest.mark.parametrize("seed", range(5))
def test_nodes_die_and_come_back(seed: int) -> None:
    world = cold(16, FEW, seed)
    chaos = random.Random(seed)
    for step in range(1, 9):
        world.run(step / 8 * world.ideal)
        node = chaos.choice(list(world.nodes.values()))
        if node.live:
            world.crash(node)
        else:
            world.start(node)
    for node in world.nodes.values():
        if not node.live:
            world.start(node)
    finish(world, 4)


@pytest.mark.parametrize("seed", range(3))
def test_streams_that_break_at_random(seed: int) -> None:
    world = cold(16, Conditions(chunks=128, loss=0.002, one_coordinator=False), seed)
    finish(world, 3)


def test_two_halves_that_cannot_reach_each_other_finish_and_then_agree() -> None:
    world = cold(16, Conditions(chunks=128, one_coordinator=False), 3)
    world.run(0.3 * world.ideal)
    half = set(list(world.nodes)[:8])
    world.split(lambda one, other: (one in half) != (other in half))
    world.run(0.6 * world.ideal)
    world.heal()
    finish(world, 2.5)
    world.time.run(world.time.now + 60, lambda: False)
    assert len({node.chosen for node in world.nodes.values()}) == 1


@pytest.mark.parametrize("fault", ["lies", "stalls"])
def test_a_bad_peer_among_good_ones(fault: str) -> None:
    world = cold(16, FEW, 4)
    setattr(list(world.nodes.values())[5], fault, True)
    finish(world, 1.6)
    assert world.source_reads <= 1.05


@pytest.mark.parametrize("fault", ["lies", "stalls", "dead", "slow"])
def test_peers_that_are_all_bad_cost_little(fault: str) -> None:
    conditions = Conditions(chunks=1024)
    world = World(conditions, 5)
    for _ in range(4):
        node = world.add(have=everything(conditions), up=0.05 if fault == "slow" else 1.0)
        if fault in ("lies", "stalls"):
            setattr(node, fault, True)
    victim = world.add()
    start_last(world, victim)
    if fault == "dead":
        for node in list(world.nodes.values())[:4]:
            world.crash(node)
    world.run(1.0 + 1.1 * alone(conditions) + WAIT)
    assert victim.finished is not None


def test_a_slow_node_delays_itself_only() -> None:
    world = World(FEW, 6)
    slow = world.add(up=0.1, down=0.1)
    for _ in range(15):
        world.add()
    world.start_all()
    world.run(12 * world.ideal)
    others = [node.finished for node in world.nodes.values() if node is not slow]
    assert max(end if end is not None else 1e9 for end in others) <= 1.3 * world.ideal
    assert slow.finished is not None
    assert slow.finished <= 12 * world.ideal
    assert world.source_reads <= 1.07  # what it was granted, it reads too slowly for the others to wait
