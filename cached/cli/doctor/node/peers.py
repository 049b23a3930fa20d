"""Reaching the other nodes that the daemon knows."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from cached.cli.doctor import dial, samples
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node import about_peers
from cached.cli.doctor.node.about_peers import Neighbour
from cached.cli.doctor.node.identity import identity_of, peers_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import NotConfigured

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import ListPeersResponse, Peer
    from cached.peers.identity import Identity

SECONDS: Final = 20.0
_MOST: Final = 64
_AT_ONCE: Final = 64
_PATIENCE: Final = 2.0


def look(scene: Scene) -> Iterator[Finding]:
    peers, host = peers_of(scene)
    if scene.process is not None and scene.process.apart:
        raise Skipped("the daemon has a network of its own, from which it must be looked: kubectl exec")
    with scene.operator() as operator:
        known = operator.peers(timeout=_PATIENCE)
    try:
        identity = None if peers.plaintext else identity_of(scene, peers, host)
    except NotConfigured:
        raise Skipped("this node's certificate is no good; see certificates") from None
    counted = samples.read(scene.settings.metrics if scene.settings else None)
    turned_away = samples.total(counted, "cached_peer_refused_requests_total", 'reason="identity"')
    chosen = sorted(known.peers, key=lambda peer: (peer.failure_count == 0, peer.address))[:_MOST]
    yield from about_peers.judge(
        known, _own(known, identity), _all(known, chosen, identity), turned_away=int(turned_away)
    )


def _own(known: ListPeersResponse, identity: Identity | None) -> Neighbour:
    return Neighbour(
        known.address,
        control=dial.control(known.address, identity),
        data=dial.data(known.data_address, identity),
    )


def _all(known: ListPeersResponse, chosen: list[Peer], identity: Identity | None) -> list[Neighbour]:
    def one(peer: Peer) -> Neighbour:
        return Neighbour(
            peer.address,
            control=dial.control(peer.address, identity, known.address),
            data=dial.data(about_peers.data_address(peer.address, known), identity),
        )

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(one, chosen))
