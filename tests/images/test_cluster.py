"""Nodes that want an image at once read the registry once, and what one node's runtime has, others find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.cluster import Cluster, daemon_of
from tests.images.pictures import MIB, SAID, hello
from tests.peers.ca import make_ca
from tests.servers.containerd import lacking
from tests.system.waiting import eventually


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if why := lacking("1.7"):
        pytest.skip(why)
    with Cluster(tmp_path, make_ca(tmp_path / "ca"), nodes=3, rate=12_000_000) as cluster:
        yield cluster


def test_three_nodes_that_pull_at_once_read_the_registry_once(cluster: Cluster) -> None:
    made = hello(96 * MIB)
    name = cluster.upstream.offer("team/app", made)
    cluster.start()
    cluster.pull(name)
    for node in cluster.nodes:
        assert node.containerd.run(name, *SAID) == "hello\n"
    assert cluster.upstream.gets(by="containerd") == 0
    assert cluster.upstream.read() <= 1.1 * made.size


def test_what_the_runtime_of_one_node_has_comes_to_the_others(cluster: Cluster) -> None:
    made = hello(24 * MIB)
    name = cluster.upstream.offer("team/app", made)
    first, second, _ = cluster.nodes
    first.containerd.pull(name)  # without the daemon: nothing of it is in a cache
    cluster.start()
    cluster.upstream.front.forget()
    second.warm(name)
    assert daemon_of(second).received("peer") >= 24 * MIB
    assert cluster.upstream.read() < 3 * MIB
    assert not any((first.daemon.root / "blobs" / "sha256").glob("*/*"))
    # Once its collector has taken it, nobody looks for it there.
    first.containerd.remove(name)
    third = cluster.nodes[2]
    blob = made.layers[-1].digest
    eventually(
        lambda: (
            not (
                first.containerd.content_root / f"io.containerd.content.v1.content/blobs/sha256/{blob[7:]}"
            ).exists()
        ),
        30,
    )
    third.warm(name)
    assert daemon_of(third).received("peer") >= 24 * MIB
