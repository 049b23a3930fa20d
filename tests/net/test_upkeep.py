"""What operators and disks do to a cluster at work."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cached.cli.authority import Authority
from cached.core.errors import NoSpace
from tests.net.conftest import Cluster
from tests.net.fetches import Fetches, assert_whole
from tests.system.content import MIB, make_content
from tests.system.disks import Disk
from tests.system.waiting import eventually

CONTENT = make_content({**{f"shard-{n}.bin": 8 * MIB for n in range(2)}, "config.json": 600}, "upkeep")
SIZE = sum(map(len, CONTENT.values()))
AGAIN = 3 * MIB
"""What may be read once more: on a busy machine a chunk looks late. tests/neighbours has it exact."""
ONCE = 1.02 * SIZE + AGAIN
PATIENCE = 60.0


def test_a_full_disk_is_one_node_s_own_trouble(cluster: Cluster, tmp_path: Path) -> None:
    with Disk(tmp_path / "small", "tmpfs", 64 * MIB) as disk:
        rig = cluster()
        rig.offer("m", CONTENT)
        *others, full = rig.nodes
        full.settings["root"] = str(disk.path / "cache")
        rig.start()
        junk = disk.fill("junk", 8 * MIB)
        with Fetches(rig.nodes, "m") as fetches:
            assert isinstance(fetches.error(full), NoSpace)
            fetches.seconds(others)
        assert_whole(others, "m", CONTENT)
        assert rig.read <= ONCE

        junk.unlink()
        rig.source.forget()
        assert_whole([full], "m", CONTENT)
        assert rig.read <= AGAIN
        full.terminate()


@pytest.mark.slow
def test_certificates_change_amid_a_swarm(cluster: Cluster, ca: Authority) -> None:
    rig = cluster(4)
    rig.offer("m", CONTENT)
    *first, late = rig.nodes
    rig.start(first)
    with Fetches(first, "m") as fetches:
        rig.until_read(0.3 * SIZE)
        for node in first:
            node.certify(ca, lasts=timedelta(days=2))
        fetches.seconds()
    assert_whole(first, "m", CONTENT)
    assert rig.read <= ONCE
    eventually(lambda: all(node.certificate_lasts > 86_400 for node in first), PATIENCE)

    rig.source.forget()
    rig.start([late])
    assert_whole([late], "m", CONTENT)
    assert rig.read <= AGAIN


def test_all_are_restarted_one_by_one_amid_a_swarm(cluster: Cluster) -> None:
    rig = cluster()
    rig.offer("m", CONTENT)
    rig.start()
    with Fetches(rig.nodes, "m") as fetches:
        rig.until_read(0.2 * SIZE)
        for node in rig.nodes:
            node.restart()
        for node in rig.nodes:
            fetches.error(node)  # its call ended with the daemon, unless it was done before
    with Fetches(rig.nodes, "m") as fetches:
        fetches.seconds()
    assert_whole(rig.nodes, "m", CONTENT)
    assert rig.read <= 1.5 * SIZE  # only chunks that were under way come twice
