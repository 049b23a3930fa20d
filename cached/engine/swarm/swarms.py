"""All swarms that this node takes part in."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from cached.core.chunkmap import ChunkMap
from cached.core.digest import Digest
from cached.core.errors import CachedError
from cached.core.peer import Member
from cached.core.source import Readable
from cached.core.tree import Tree
from cached.engine.meter import Meter
from cached.engine.resolve import Resolution
from cached.engine.swarm.carrying import Carrying
from cached.engine.swarm.hosting import Hosting
from cached.engine.swarm.joining import Joining, Site
from cached.engine.swarm.shelf import Holder, StoreShelf
from cached.engine.swarm.tally import Tally
from cached.engine.views import PeerState, PeersView, PeerView, SwarmView
from cached.store.store import Reservation, Store
from cached.swarm.bits import Bits, all_bits, each_bit
from cached.swarm.limits import FetchLimits
from cached.swarm.limits import SourceLimits as SwarmLimits
from cached.swarm.lines import Line, Lines, Seat, Visitor
from cached.swarm.messages import FromCoordinator, Hash, Hello, Holding, Survey
from cached.telemetry.metrics import Metrics
from cached.transfer.transfer import SourceLimits, Transfer

log = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0  # seconds between two looks at what is warm and shared
_MOST_SERVED: Final = 1000  # trees announced at a time; those beyond are fetched by others from elsewhere


@dataclass(frozen=True, slots=True)
class SwarmOptions:
    """Of one node. me: as others know it. data_address: where it serves ranges, `host:port`.

    give_up_after: seconds without any chunk before a fetch fails.
    """

    me: Member
    data_address: str
    encrypted: bool
    membership: str
    fetch: FetchLimits
    source: SwarmLimits
    give_up_after: float


@dataclass(frozen=True, slots=True)
class Offer:
    """A tree that is complete here and that others may have. last_use: Unix time; the latest come first."""

    digest: Digest
    last_use: float
    tree: Callable[[], Tree | None]


def _nothing() -> None:
    """Who answers a first knock is of no interest."""


class Swarms:
    """Fetches trees together with other members, and offers them what is here.

    Implements `cached.swarm.lines.Swarms`. Belongs to one event loop.
    """

    def __init__(
        self,
        options: SwarmOptions,
        store: Store,
        transfer: Transfer,
        lines: Lines,
        metrics: Metrics,
        rng: random.Random,
        holder: Holder | None = None,
    ) -> None:
        """`holder` has whole blobs beside the store."""
        self.shelf = StoreShelf(store, holder)
        self._options = options
        self._store = store
        self._transfer = transfer
        self._metrics = metrics
        self._hosting = Hosting(options.me.address, options.source, rng, metrics)
        self._tally = Tally()
        self._members: tuple[Member, ...] = ()
        self._joinings: dict[Digest, Joining] = {}
        self._fetching: set[Digest] = set()
        self._closed = False
        self._site = Site(
            me=options.me,
            data_address=options.data_address,
            lines=lines,
            hosting=self._hosting,
            tally=self._tally,
            limits=options.fetch,
            metrics=metrics,
            rng=rng,
            load=lambda: self.shelf.load,
            hashes=self._hashes,
        )

    # Members.

    @property
    def others(self) -> tuple[Member, ...]:
        """The members but this node."""
        return self._members

    def is_member(self, address: str) -> bool:
        return any(member.address == address for member in self._members)

    def members_changed(self, members: tuple[Member, ...]) -> None:
        """These are the live ones now; this node may be among them."""
        mine = self._options.me.address
        others = tuple(member for member in members if member.address != mine)
        if others == self._members:
            return
        log.info("members changed", extra={"members": len(others), "before": len(self._members)})
        if not self._members:
            # This daemon has just started: those who gave it up while it was away turn to it again, rather
            # than coordinate beside it.
            for member in others:
                self._site.lines.knock(member.address, _nothing)
        self._members = others
        self._tally.keep(frozenset(member.address for member in others))
        self._hosting.members_changed(tuple(member.address for member in others))
        for joining in self._joinings.values():
            joining.members_changed(others)

    # Fetching.

    async def fill(
        self,
        reservation: Reservation,
        resolution: Resolution,
        source: Readable,
        limits: SourceLimits,
        meter: Meter,
        *,
        in_order: bool = False,
    ) -> None:
        """Bring the blobs of `reservation` that are missing into the store, together with other members.

        No other flight may be at any of these blobs. Raises as `Carrying.run` does. Cancelled or failed,
        verified chunks stay in their stages. Call `settled` when the tree is published, or is not to be.
        in_order: somebody reads the blobs from their first byte on meanwhile.
        """
        tree = resolution.tree
        carrying = Carrying(
            self._store,
            self._transfer,
            reservation,
            resolution,
            source,
            limits,
            meter,
            self._options.give_up_after,
        )
        joining: Joining | None = None
        self._fetching.add(tree.digest)
        try:
            have, hashes = await carrying.resume()
            joining = self._join(Joining(self._site, tree, have, hashes, carrying, in_order=in_order))
            await carrying.run(joining)
            joining.done()
        except BaseException:
            if joining is not None:
                self._leave(joining)
            raise
        finally:
            await carrying.close()

    def settled(self, tree: Digest) -> None:
        """The flight of `tree` is over; from now on it is here for others if it is warm."""
        self._fetching.discard(tree)

    # What is here for others.

    def knocked(self, member: str) -> None:
        for joining in list(self._joinings.values()):
            joining.answered(member)

    def sit(self, member: str, hello: Hello, line: Line[FromCoordinator]) -> Seat:
        return self._hosting.sit(member, hello, line)

    def visit(self, member: str, tree: Digest, line: Line[Holding]) -> Visitor | None:
        joining = self._joinings.get(tree)
        return joining.visited(member, line) if joining else None

    async def serve(self, offers: Callable[[], Iterable[Offer]]) -> None:
        """Forever: take part, for others, in the swarms of what is complete and what policy shares."""
        while True:
            if not self._closed:
                self._look({offer.digest: offer for offer in offers()})
            await asyncio.sleep(_LOOK_EVERY)

    def _look(self, offers: Mapping[Digest, Offer]) -> None:
        for digest, joining in list(self._joinings.items()):
            if digest not in offers and digest not in self._fetching:
                self._leave(joining)
        new = [offer for digest, offer in offers.items() if digest not in self._joinings]
        new.sort(key=lambda offer: offer.last_use, reverse=True)
        for offer in new[: max(0, _MOST_SERVED - len(self._joinings))]:
            tree = offer.tree()
            if tree is not None and tree.size:
                everything = all_bits(ChunkMap(tree).count)
                self._join(Joining(self._site, tree, everything, {}, None))
        self._show()

    def _join(self, joining: Joining) -> Joining:
        digest = joining.tree.digest
        if before := self._joinings.get(digest):
            self._leave(before)
        self._joinings[digest] = joining
        self.shelf.put(joining.tree)
        joining.start(self._members)
        return joining

    def _leave(self, joining: Joining) -> None:
        if self._joinings.get(joining.tree.digest) is joining:
            del self._joinings[joining.tree.digest]
            self.shelf.take(joining.tree)
            joining.leave()

    async def _hashes(self, tree: Tree, chunks: Bits) -> Mapping[int, Hash]:
        """What chunks of a tree hash to, out of the index; those of blobs that have gone are left out."""
        places = ChunkMap(tree)
        joined: dict[Digest, bytes] = {}
        found: dict[int, Hash] = {}
        for chunk in each_bit(chunks):
            place = places.locate(chunk)
            if place.blob not in joined:
                try:
                    joined[place.blob] = await self.shelf.hashes(place.blob)
                except CachedError:
                    joined[place.blob] = b""
            value = joined[place.blob][32 * place.index : 32 * place.index + 32]
            if value:
                found[chunk] = value
        return found

    def close(self) -> None:
        """Leave all swarms, and enter none again. No `fill` may be running."""
        self._closed = True
        for joining in list(self._joinings.values()):
            self._leave(joining)
        self._hosting.close()

    # For operators.

    def _show(self) -> None:
        gauge = self._metrics.swarms
        fetching = len(self._fetching)
        gauge.labels(role="fetching").set(fetching)
        gauge.labels(role="serving").set(len(self._joinings) - fetching)
        gauge.labels(role="coordinating").set(len(self._hosting))
        states = [self._state(member.address)[0] for member in self._members]
        for state in PeerState:
            self._metrics.peers.labels(state=state.value).set(states.count(state))

    def _state(self, member: str) -> tuple[PeerState, float]:
        now = asyncio.get_running_loop().time()
        health = self._tally.health
        left = max(0.0, health.usable_from(member) - now)
        if health.banned(now, member):
            return PeerState.BANNED, left
        return (PeerState.ASIDE if left else PeerState.OK), left

    def peers(self, sent: Mapping[str, int]) -> PeersView:
        """This node among the others; `sent`: bytes by the host that they went to."""
        options, tally = self._options, self._tally
        peers = []
        for member in sorted(self._members):
            state, left = self._state(member.address)
            host = urlsplit(f"//{member.address}").hostname or ""
            peers.append(
                PeerView(
                    member.address,
                    member.zone,
                    state,
                    left,
                    tally.received[member.address],
                    sent.get(host, 0),
                    tally.failures[member.address],
                )
            )
        return PeersView(
            options.me.address,
            options.data_address,
            options.me.zone,
            options.encrypted,
            options.membership,
            tuple(peers),
        )

    def survey(self, tree: Digest) -> Survey | None:
        return self._hosting.survey(tree)

    async def view(self, tree: Digest) -> SwarmView | None:
        """The swarm of `tree` as seen from here, if this node takes part; its coordinator is asked."""
        joining = self._joinings.get(tree)
        if joining is None:
            return None
        participant = joining.participant
        coordinator = participant.coordinator or ""
        return SwarmView(
            coordinator=coordinator,
            chunks=joining.chunks.count,
            have=participant.have.bit_count(),
            neighbours=tuple(sorted(participant.holdings.items())),
            survey=await self._survey(coordinator, tree),
        )

    async def _survey(self, coordinator: str, tree: Digest) -> Survey | None:
        if coordinator == self._options.me.address:
            return self.survey(tree)
        return await self._site.lines.survey(coordinator, tree) if coordinator else None
