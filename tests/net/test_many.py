"""Sixteen daemons in sixteen namespaces."""

from __future__ import annotations

import random

import pytest

from tests.net.conftest import Cluster
from tests.net.fetches import Fetches, assert_whole
from tests.net.rig import Rig
from tests.system.content import MIB, make_content

RATE = 4_000_000
"""Bytes per second of a link: TLS and hashes of sixteen daemons then take half of two cores."""
CONTENT = make_content({f"shard-{n}.bin": 32 * MIB for n in range(8)}, "many")
"""256 chunks of 1 MiB. A model for GPUs has more, and is the quicker in relation."""
SIZE = sum(map(len, CONTENT.values()))
PATIENCE = 600.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _start(rig: Rig) -> None:
    """Start all, and have each ask the source once: that it loads boto3 then is no matter of links."""
    rig.offer("small", {"config.json": b"{}"})
    rig.start()
    with Fetches(rig.nodes, "small", PATIENCE) as fetches:
        fetches.seconds()
    rig.source.forget()


def test_sixteen_cold_nodes_and_one_that_comes_later(cluster: Cluster) -> None:
    rig = cluster(17, RATE)
    rig.offer("m", CONTENT)
    *first, late = rig.nodes
    _start(rig)
    with Fetches(first, "m", PATIENCE) as fetches:
        last = max(fetches.seconds())
    ideal = SIZE / RATE
    reads = rig.read / SIZE
    print(f"last done at {last / ideal:.3f} of the ideal; the source was read {reads:.3f} times")
    assert_whole(first, "m", CONTENT)
    assert reads <= 1.02
    assert last <= 1.15 * ideal

    rig.source.forget()
    with Fetches([late], "m", PATIENCE) as fetches:
        fetches.seconds()
    assert_whole([late], "m", CONTENT)
    assert rig.read == 0


@pytest.mark.parametrize("seed", range(3))
def test_whoever_is_killed_the_rest_finish(cluster: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    rig = cluster(16, RATE)
    rig.offer("m", CONTENT)
    _start(rig)
    left = list(rig.nodes)
    with Fetches(rig.nodes, "m", PATIENCE) as fetches:
        for share in (0.1, 0.25, 0.4, 0.6, 0.8, 0.95):
            rig.until_read(share * SIZE)
            killed = rng.choice(left)
            left.remove(killed)
            killed.kill9()
        fetches.seconds(left)
    assert_whole(left, "m", CONTENT)
    assert rig.read <= 1.5 * SIZE
