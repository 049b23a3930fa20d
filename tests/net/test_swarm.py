"""Daemons behind one link each, and a source behind one: what the swarm is for, and what must not stop it."""

from __future__ import annotations

import json

from tests.net.conftest import RATE, Cluster
from tests.net.fetches import Fetches, assert_whole
from tests.net.node import Node
from tests.net.rig import Rig
from tests.net.switch import heal, part
from tests.system.content import MIB, make_content
from tests.system.waiting import eventually

CONTENT = make_content({**{f"shard-{n}.bin": 8 * MIB for n in range(2)}, "config.json": 600}, "swarm")
SIZE = sum(map(len, CONTENT.values()))
AGAIN = 3 * MIB
"""What may be read once more: on a busy machine a chunk looks late. tests/neighbours has it exact."""
ONCE = 1.02 * SIZE + AGAIN
PATIENCE = 60.0


def _coordinator(rig: Rig, among: list[Node]) -> Node:
    """The node that all of `among` say coordinates the swarm."""

    def said() -> set[str]:
        return {node.swarm("m").coordinator for node in among}

    eventually(lambda: len(said()) == 1 and said() != {""}, PATIENCE)
    return next(node for node in rig.nodes if node.address in said())


def test_cold_nodes_read_the_source_once_and_who_comes_later_not_at_all(cluster: Cluster) -> None:
    rig = cluster(4)
    rig.offer("m", CONTENT)
    *first, late = rig.nodes
    rig.start()
    with Fetches(first, "m") as fetches:
        fetches.seconds()
    assert_whole(first, "m", CONTENT)
    assert SIZE <= rig.read <= ONCE
    assert sum(node.received("s3") for node in first) <= ONCE
    assert sum(node.received("peer") for node in first) >= 2 * SIZE - 0.02 * SIZE

    rig.source.forget()
    with Fetches([late], "m") as fetches:
        fetches.seconds()
    assert_whole([late], "m", CONTENT)
    assert rig.read <= AGAIN
    assert late.received("peer") >= SIZE - AGAIN

    peers = json.loads(late.cachectl("peers", "-o", "json").stdout)
    assert sorted(peer["address"] for peer in peers["peers"]) == sorted(node.address for node in first)
    assert sum(int(peer["received_bytes"]) for peer in peers["peers"]) >= SIZE - AGAIN


def test_a_slow_node_does_not_hold_the_others_back(cluster: Cluster) -> None:
    rig = cluster()
    rig.offer("before", make_content({f"shard-{n}.bin": 8 * MIB for n in range(2)}, "before"))
    rig.offer("m", CONTENT)
    *fast, slow = rig.nodes
    slow.host.shape(RATE // 20)
    rig.start()
    with Fetches(fast, "before") as fetches:
        usual = max(fetches.seconds())
    rig.source.forget()
    with Fetches(rig.nodes, "m") as fetches:
        assert max(fetches.seconds(fast)) <= 3 * usual + 5
        assert fetches.going(slow)
        slow.host.shape(RATE)
        fetches.seconds([slow])
    assert_whole(rig.nodes, "m", CONTENT)
    assert rig.read <= 1.5 * SIZE


def test_another_coordinates_when_the_coordinator_dies(cluster: Cluster) -> None:
    rig = cluster()
    rig.offer("m", CONTENT)
    rig.start()
    with Fetches(rig.nodes, "m") as fetches:
        rig.until_read(0.3 * SIZE)
        dead = _coordinator(rig, rig.nodes)
        dead.kill9()
        left = [node for node in rig.nodes if node is not dead]
        fetches.seconds(left)
    assert_whole(left, "m", CONTENT)
    assert rig.read <= 1.7 * SIZE  # what only the dead one had is read again
    assert _coordinator(rig, left) is not dead

    rig.source.forget()
    rig.start([dead])
    assert_whole([dead], "m", CONTENT)
    assert rig.read <= AGAIN


def test_halves_that_cannot_see_each_other_finish_and_meet_again(cluster: Cluster) -> None:
    rig = cluster()
    other = make_content({f"shard-{n}.bin": 4 * MIB for n in range(3)}, "meet again")
    rig.offer("m", CONTENT)
    rig.offer("other", other)
    rig.start()
    hosts = [node.host for node in rig.nodes]
    with Fetches(rig.nodes, "m") as fetches:
        rig.until_read(0.2 * SIZE)
        part(hosts[:1], hosts[1:])
        rig.until_read(0.6 * SIZE)
        heal(hosts)
        fetches.seconds()
    assert_whole(rig.nodes, "m", CONTENT)
    assert rig.read <= 2.02 * SIZE

    eventually(lambda: all(node.usable_peers == 2 for node in rig.nodes), PATIENCE)
    rig.source.forget()
    with Fetches(rig.nodes, "other") as fetches:
        fetches.seconds()
    assert rig.read <= 1.02 * 12 * MIB + 3 * MIB
