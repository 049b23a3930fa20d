"""The parts that speak to other nodes, put together."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass

from cached.config.settings import Peers
from cached.core.clock import Clock
from cached.core.peer import Member
from cached.engine.swarm.shelf import Holder
from cached.engine.swarm.swarms import SwarmOptions, Swarms
from cached.kit.guard import forever
from cached.peers.certificate import bare
from cached.peers.identity import Identity
from cached.peers.links import Links
from cached.peers.membership import Membership, membership_of
from cached.peers.membership.address import Address
from cached.serve.peer.control.server import ControlServer
from cached.serve.peer.data.server import DataOptions, DataServer
from cached.store.store import Store
from cached.swarm.limits import FetchLimits
from cached.swarm.limits import SourceLimits as SwarmLimits
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import SourceLimits, Transfer, TransferOptions

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """All that this node has for the sake of the others."""

    swarms: Swarms
    _identity: Identity | None
    _membership: Membership | None
    _links: Links
    _control: ControlServer
    _data: DataServer

    @property
    def sent(self) -> Mapping[str, int]:
        """Bytes sent to other nodes, by host."""
        return self._data.sent

    async def start(self) -> None:
        """Listen. Raises Busy or NotConfigured, naming the address."""
        port = self._data.start()
        control = await self._control.start()
        log.info("other nodes are served", extra={"port": control, "data_port": port})

    async def run(self) -> None:
        """Forever: follow who the others are, and this node's certificate."""
        async with asyncio.TaskGroup() as group:
            if self._membership is not None:
                membership = self._membership
                follow = self.swarms.members_changed
                group.create_task(forever("members", lambda: membership.follow(follow)))
            if self._identity is not None:
                group.create_task(forever("certificates", self._identity.follow))
            await asyncio.Event().wait()

    async def stop(self, grace: float) -> None:
        """Serve nobody any more; calls under way get `grace` seconds."""
        await self._control.stop(grace)
        await self._links.close()
        await asyncio.to_thread(self._data.stop)


def neighbours_of(
    peers: Peers,
    advertise: str,
    options: TransferOptions,
    store: Store,
    transfer: Transfer,
    metrics: Metrics,
    clock: Clock,
    rng: random.Random,
    holder: Holder | None = None,
) -> Neighbours:
    """What `peers` describes; nothing listens yet. `holder` has whole blobs beside the store.

    Raises NotConfigured for unusable certificates.
    """
    advertise = str(Address.parse(advertise))  # as the others will spell it
    me = Member(advertise, peers.zone)
    listen = peers.listen or advertise
    host, _, port = listen.rpartition(":")
    data_port = peers.data_port or int(port) + 1
    data_address = f"{advertise.rpartition(':')[0]}:{data_port}"
    identity = _identity(peers, advertise, metrics)
    transfer.peers(identity, SourceLimits(bandwidth=peers.download))
    membership = membership_of(peers.members, advertise, clock, rng)
    links = Links(me, identity)
    swarms = Swarms(
        SwarmOptions(
            me=me,
            data_address=data_address,
            encrypted=identity is not None,
            membership=membership.source if membership else "",
            fetch=FetchLimits(
                downloads=peers.downloads,
                slow_rate=peers.slow / peers.downloads,
                source_reads=min(FetchLimits().source_reads, options.connections),
                alone_reads=options.connections,
            ),
            source=SwarmLimits(reads=peers.source_reads, rate=peers.source_bandwidth),
            give_up_after=options.give_up_after,
        ),
        store,
        transfer,
        links,
        metrics,
        rng,
        holder,
    )
    return Neighbours(
        swarms,
        identity,
        membership,
        links,
        ControlServer(listen, swarms, identity, swarms.is_member, metrics),
        DataServer(
            (bare(host), data_port),
            swarms.shelf,
            identity,
            metrics,
            DataOptions(uploads=peers.uploads, bandwidth=peers.upload),
        ),
    )


def _identity(peers: Peers, advertise: str, metrics: Metrics) -> Identity | None:
    tls = peers.tls
    if peers.plaintext:
        log.warning(
            "peers.plaintext is set: other nodes are spoken to without TLS, and whoever reaches the ports"
            " can read what is cached"
        )
        return None
    assert tls.ca is not None
    assert tls.cert is not None
    assert tls.key is not None
    host = advertise.rpartition(":")[0]
    return Identity.load(tls.ca, tls.cert, tls.key, name=tls.name, host=host, metrics=metrics)
