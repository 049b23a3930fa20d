"""Large and rough clusters in virtual time; each failure names its seed."""

from __future__ import annotations

import random

import pytest

from tests.swarm.test_cluster import finish
from tests.swarm.world import Conditions, World, everything

MESSAGES = 600
"""What a participant may send in any second: 32 neighbours at most, and less than 20 news for each."""


def rough(count: int, conditions: Conditions, seed: int) -> World:
    """Links of a half to twice the usual width, three zones, a liar and a staller among each twenty."""
    world = World(conditions, seed)
    for number in range(count):
        node = world.add(
            up=world.rng.choice((0.5, 1.0, 1.0, 2.0)),
            down=world.rng.choice((0.5, 1.0, 1.0, 2.0)),
            zone="abc"[number % 3],
        )
        node.lies, node.stalls = number % 20 == 7, number % 20 == 13
    world.start_all()
    return world


def churn(world: World, steps: int, seed: int) -> None:
    """At each of `steps`, a tenth of the nodes crashes, forgetting all or nothing, or comes back."""
    chaos = random.Random(seed)
    for step in range(1, steps + 1):
        world.run(step / steps * world.ideal)
        for node in chaos.sample(list(world.nodes.values()), max(len(world.nodes) // 10, 1)):
            if node.live:
                world.crash(node, forget=chaos.random() < 0.5)
            else:
                world.start(node)
    for node in world.nodes.values():
        if not node.live:
            world.start(node)


def assert_few_messages(world: World) -> None:
    most = max(max(node.sent.values(), default=0) for node in world.nodes.values())
    assert most <= MESSAGES, f"seed {world.seed}: a node sent {most} messages in a second"


@pytest.mark.parametrize("seed", range(2))
def test_a_rough_cluster(seed: int) -> None:
    world = rough(40, Conditions(chunks=128), seed)
    finish(world, 3.5)
    assert_few_messages(world)


def test_a_rough_cluster_with_churn_and_loss() -> None:
    world = rough(40, Conditions(chunks=128, loss=0.0005, one_coordinator=False), 1)
    churn(world, 4, 1)
    finish(world, 8)
    assert_few_messages(world)


def test_spoiled_chunks_are_read_again_and_the_swarm_goes_on() -> None:
    conditions = Conditions(chunks=64)
    world = World(conditions, 1)
    nodes = [world.add(have=everything(conditions)) for _ in range(8)]
    for node in nodes:
        world.boot(node)
    for node in nodes:
        world.start(node)
    world.time.run(1.0, lambda: False)
    spoilt = nodes[3]
    world.spoil(spoilt, 0xFFFF)
    finish(world, 4)
    assert spoilt.finished is not None
    assert spoilt.finished > 1.0
    assert world.source_reads == 16 / 64


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(30))
def test_rough_clusters_with_churn_and_loss(seed: int) -> None:
    loss = (0.0, 0.0005, 0.002)[seed % 3]
    world = rough(60, Conditions(chunks=128, loss=loss, one_coordinator=False), seed)
    churn(world, 2 + seed % 5, seed)
    finish(world, 12)
    assert_few_messages(world)


@pytest.mark.slow
def test_two_hundred_nodes_one_in_ten_of_which_crashes() -> None:
    world = rough(200, Conditions(chunks=64, one_coordinator=False), 1)
    churn(world, 2, 1)
    finish(world, 12)
    assert_few_messages(world)
