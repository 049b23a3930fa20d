"""Peers that lie, stall, or are not who they should be: fetches end well, and soon."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from cached.cli.authority import Authority
from tests.net.conftest import RATE, Cluster
from tests.net.fetches import Fetches, assert_whole
from tests.net.node import Node
from tests.net.rig import Rig
from tests.peers.ca import make_ca
from tests.system.content import MIB, make_content
from tests.system.waiting import eventually

CONTENT = make_content({**{f"shard-{n}.bin": 4 * MIB for n in range(4)}, "config.json": 600}, "bad peers")
SIZE = sum(map(len, CONTENT.values()))
PATIENCE = 60.0
_WAIT = 10.0
"""Seconds that peers may cost in vain: four without an answer, and finding out how slow they are."""


def _fetch(nodes: list[Node]) -> float:
    """Fetch on all of these, check every byte; seconds until the last was done."""
    with Fetches(nodes, "m") as fetches:
        took = max(fetches.seconds())
    assert_whole(nodes, "m", CONTENT)
    return took


def _rot(node: Node) -> None:
    """Flip a bit in every chunk of what a stopped daemon has, as a bad disk would: nothing else changes."""
    for path in (node.root / "blobs").glob("*/*/*"):
        before = path.stat()
        with path.open("r+b") as file:
            for at in range(0, before.st_size, MIB):
                byte = os.pread(file.fileno(), 1, at)
                os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), at)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_who_serves_wrong_bytes_is_banned(cluster: Cluster) -> None:
    rig = cluster()
    rig.offer("m", CONTENT)
    liar, *others = rig.nodes
    rig.start([liar])
    _fetch([liar])
    liar.terminate()
    _rot(liar)
    rig.source.forget()
    rig.start()
    _fetch(others)
    assert rig.read <= 1.1 * SIZE
    assert sum(node.metric("cached_peer_bans_total") for node in others) >= 1
    assert sum(node.metric('cached_peer_failures_total{reason="verify"}') for node in others) >= 1


@pytest.mark.slow
def test_a_peer_that_stalls_amid_a_chunk(cluster: Cluster) -> None:
    rig = cluster(2)
    rig.offer("m", CONTENT)
    holder, node = rig.nodes
    rig.start()
    _fetch([holder])
    rig.source.forget()
    holder.host.shape(RATE // 2)
    with Fetches([node], "m") as fetches:
        eventually(lambda: node.received("peer") >= 2 * MIB, PATIENCE)
        holder.signal(signal.SIGSTOP)
        try:
            fetches.seconds()
        finally:
            holder.signal(signal.SIGCONT)
    assert_whole([node], "m", CONTENT)
    assert 0 < rig.read < SIZE


@pytest.mark.slow
def test_foreign_and_expired_certificates_are_refused(
    cluster: Cluster, ca: Authority, tmp_path: Path
) -> None:
    rig = cluster(3)
    rig.offer("m", CONTENT)
    good, foreign, expired = rig.nodes
    foreign.join(rig.members, make_ca(tmp_path / "other"))
    expired.certify(ca, lasts=timedelta(seconds=8))
    rig.start()
    _fetch([good])
    rig.source.forget()
    eventually(lambda: expired.certificate_lasts < 0, PATIENCE)
    for node in (foreign, expired):
        _fetch([node])
        assert node.received("peer") == 0
    assert rig.read == pytest.approx(2 * SIZE, rel=0.05)
    assert good.metric("cached_peer_sent_bytes_total") == 0


def _dead(rig: Rig, peers: list[Node]) -> None:
    """One gone, one behind a pulled cable, one frozen."""
    gone, unplugged, frozen = peers
    gone.kill9()
    unplugged.host.unplug()
    frozen.signal(signal.SIGSTOP)


def _slow(rig: Rig, peers: list[Node]) -> None:
    """All have the model, and hardly a link to send it by."""
    _fetch(peers)
    for peer in peers:
        peer.host.shape(RATE // 50)


@pytest.mark.parametrize(
    "spoil", [pytest.param(_dead, id="dead"), pytest.param(_slow, id="slow", marks=pytest.mark.slow)]
)
def test_bad_peers_are_hardly_worse_than_none(cluster: Cluster, spoil: object) -> None:
    rig = cluster(4)
    rig.offer("m", CONTENT)
    node, *peers = rig.nodes
    node.alone()
    rig.start([node])
    alone = _fetch([node])
    node.operator().evict("m")

    node.terminate()
    node.join(rig.members, rig.ca)
    rig.start()
    assert callable(spoil)
    spoil(rig, peers)
    assert _fetch([node]) <= 1.1 * alone + _WAIT
