"""This node in the swarm of one tree: the participant, its lines, its clock."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from cached.core.chunkmap import ChunkMap
from cached.core.peer import Member
from cached.core.tree import Tree
from cached.engine.swarm.hosting import Hosting
from cached.engine.swarm.local import LocalLine
from cached.engine.swarm.tally import Tally
from cached.swarm.actions import (
    Action,
    Ban,
    Cancel,
    ChooseCoordinator,
    Complete,
    Connect,
    Disconnect,
    Failure,
    Fetch,
    FetchAllYourself,
    Knock,
    SendCoordinator,
    SendNeighbour,
    TellHashes,
)
from cached.swarm.bits import Bits, bits_of
from cached.swarm.limits import FetchLimits
from cached.swarm.lines import Line, Lines
from cached.swarm.messages import FromCoordinator, FromParticipant, Hash, Have, Holding
from cached.swarm.participant import Participant
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_HASHES_AT_ONCE: Final = 4096


class Hands(Protocol):
    """Who does what the participant wants done with bytes."""

    def fetch(self, fetch: Fetch, address: str, blake3: Hash) -> None:
        """Begin to get a chunk from the member that serves at `address`; tell the joining how it ended."""
        ...

    def read(self, fetch: Fetch) -> None:
        """Begin to read a chunk from the source; tell the joining how it ended."""
        ...

    def cancel(self, chunk: int, member: str | None) -> None:
        """Stop that; nothing more need be told of it."""
        ...


@dataclass(frozen=True, slots=True)
class Site:
    """What all joinings of a node share. load: uploads under way and waiting."""

    me: Member
    data_address: str
    lines: Lines
    hosting: Hosting
    tally: Tally
    limits: FetchLimits
    metrics: Metrics
    rng: random.Random
    load: Callable[[], int]
    hashes: Callable[[Tree, Bits], Awaitable[Mapping[int, Hash]]]


class Joining:
    """Feeds one participant with what happens, and does what it wants. Belongs to one event loop."""

    def __init__(
        self,
        site: Site,
        tree: Tree,
        have: Bits,
        hashes: Mapping[int, Hash],
        hands: Hands | None,
        *,
        in_order: bool = False,
    ) -> None:
        """`hands` is None for a tree that is complete here. in_order: its first chunks are to come first."""
        self.tree = tree
        self.chunks = ChunkMap(tree)
        self._site = site
        self._hands = hands
        self._coordinator: Line[FromParticipant] | None = None
        self._neighbours: dict[str, Line[Holding]] = {}
        self._opening: dict[str, Line[Holding]] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._left = False
        self._turned = 0
        self.participant = Participant(
            tree.digest,
            self.chunks.count,
            self.chunks.size,
            site.me,
            site.data_address,
            have,
            hashes,
            site.limits,
            site.tally.health,
            site.rng,
            wants=hands is not None,
            in_order=in_order,
        )

    @property
    def alone(self) -> bool:
        """Whether no coordinator answers, so that the source is read without grants."""
        return self.participant.alone

    # What happens.

    def start(self, members: Sequence[Member]) -> None:
        self._do(self.participant.start(self._now(), members))

    def members_changed(self, members: Sequence[Member]) -> None:
        self._do(self.participant.members_changed(self._now(), members))

    def received(self, chunk: int, member: str | None, blake3: Hash) -> None:
        """A chunk is on disk, verified."""
        log.debug("a chunk is here", extra=self._about(chunk, member))
        duplicates = self.participant.counts.duplicate
        self._do(self.participant.received(self._now(), chunk, member, blake3))
        self._site.metrics.swarm_duplicates.inc(self.participant.counts.duplicate - duplicates)
        if member is not None:
            self._site.tally.received[member] += self.chunks.locate(chunk).length

    def failed(self, chunk: int, member: str | None, why: Failure) -> None:
        """A chunk did not come."""
        log.debug("a chunk did not come", extra=self._about(chunk, member) | {"reason": why.value})
        if member is not None and why is not Failure.LOCAL:
            self._site.tally.failures[member] += 1
        self._do(self.participant.failed(self._now(), chunk, member, why))

    def throttled(self, seconds: float) -> None:
        """The source wants to be left alone."""
        self._do(self.participant.source_throttled(self._now(), seconds))

    def spoiled(self, chunks: Bits) -> None:
        """These chunks, all verified one by one, were wrong as a whole."""
        self._do(self.participant.spoiled(self._now(), chunks))

    def visited(self, member: str, line: Line[Holding]) -> Visiting:
        """A neighbour opened a line to this node."""
        self._close_to(member)
        self._neighbours[member] = line
        self._do(self.participant.connected(self._now(), member))
        return Visiting(self, member, line)

    def done(self) -> None:
        """All is here; from now on this node only serves."""
        self._hands = None

    def leave(self) -> None:
        """Say goodbye, and end all lines. Idempotent."""
        if self._left:
            return
        self._do(self.participant.leave(self._now()))
        self._left = True
        if self._timer is not None:
            self._timer.cancel()
        if self._coordinator is not None:
            self._coordinator.close()
        for line in [*self._neighbours.values(), *self._opening.values()]:
            line.close()
        for task in self._telling:
            task.cancel()

    # What is heard.

    def heard(self, member: str, line: Line[Holding], message: Holding) -> None:
        """A neighbour told what it holds."""
        if self._neighbours.get(member) is line:
            self._do(self.participant.heard(self._now(), member, message))

    def lost(self, member: str, line: Line[Holding]) -> None:
        """A neighbour's line ended."""
        if self._neighbours.get(member) is line:
            del self._neighbours[member]
            self._do(self.participant.disconnected(self._now(), member))

    def _told(self, turned: int, message: FromCoordinator) -> None:
        if turned == self._turned:
            self._do(self.participant.told(self._now(), message))

    def _coordinator_ended(self, turned: int, why: str) -> None:
        if turned == self._turned and not self._left:
            log.debug("the coordinator's line ended", extra={"tree": self.tree.digest, "reason": why})
            self._coordinator = None
            self._do(self.participant.coordinator_lost(self._now()))

    def answered(self, member: str) -> None:
        """A member is there that may have been given up."""
        self._do(self.participant.answered(self._now(), member))

    def _opened(self, member: str) -> None:
        line = self._opening.pop(member, None)
        if line is not None:
            previous = self._neighbours.get(member)
            if previous is not None:
                previous.close()
            self._neighbours[member] = line
            self._do(self.participant.connected(self._now(), member))

    def _ended(self, member: str, line: Line[Holding]) -> None:
        if self._opening.get(member) is line:
            del self._opening[member]
            if member not in self._neighbours:
                self._do(self.participant.disconnected(self._now(), member))
        else:
            self.lost(member, line)

    def _tick(self) -> None:
        self._do(self.participant.tick(self._now()))

    # What the participant wants.

    def _do(self, actions: list[Action]) -> None:
        if self._left:
            return
        for action in actions:
            self._act(action)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_at = self.participant.wake_at
        if wake_at != float("inf"):
            self._timer = self._loop.call_at(wake_at, self._tick)

    def _act(self, action: Action) -> None:
        match action:
            case Fetch(chunk, member):
                self._fetch(action, chunk, member)
            case Cancel(chunk, member):
                if self._hands is not None:
                    self._hands.cancel(chunk, member)
            case SendNeighbour(member, message):
                self.participant.load = self._site.load()
                if line := self._neighbours.get(member):
                    line.send(message)
            case SendCoordinator(message):
                if self._coordinator is not None:
                    self._coordinator.send(message)
            case ChooseCoordinator(member):
                self._choose(member)
            case Connect(member):
                self._connect(member)
            case Disconnect(member):
                self._close_to(member)
            case Knock(member):
                self._site.lines.knock(member, partial(self.answered, member))
            case TellHashes(chunks):
                task = self._loop.create_task(self._tell_hashes(chunks))
                self._telling.add(task)
                task.add_done_callback(self._telling.discard)
            case Ban(member, seconds, why):
                self._site.metrics.peer_bans.inc()
                log.warning(
                    "a member is banned: it sent wrong bytes",
                    extra={"peer": member, "seconds": seconds, "tree": self.tree.digest, "reason": why},
                )
            case FetchAllYourself(why):
                self._site.metrics.swarm_alone.inc()
                log.info("fetching without a swarm", extra={"tree": self.tree.digest, "reason": why})
            case Complete():
                log.debug("all chunks are here", extra={"tree": self.tree.digest})

    def _fetch(self, fetch: Fetch, chunk: int, member: str | None) -> None:
        if self._hands is None:
            return
        if member is None:
            log.debug("reading a chunk from the source", extra=self._about(chunk, member))
            self._hands.read(fetch)
            return
        address, blake3 = self.participant.data_address(member), self.participant.hash_of(chunk)
        if address is None or blake3 is None:
            self._loop.call_soon(self.failed, chunk, member, Failure.GONE)
            return
        log.debug("asking a neighbour for a chunk", extra=self._about(chunk, member))
        self._hands.fetch(fetch, address, blake3)

    def _choose(self, member: str) -> None:
        if self._coordinator is not None:
            self._coordinator.close()
        if self._turned:
            self._site.metrics.swarm_coordinators.inc()
        self._turned += 1
        turned, site = self._turned, self._site
        log.debug("turning to a coordinator", extra={"tree": self.tree.digest, "peer": member})

        def heard(message: FromCoordinator) -> None:
            self._told(turned, message)

        def ended(why: str) -> None:
            self._coordinator_ended(turned, why)

        if member == site.me.address:
            self._coordinator = LocalLine(site.hosting, member, heard, ended)
        else:
            self._coordinator = site.lines.coordinate(member, heard, ended)

    def _connect(self, member: str) -> None:
        self._close_to(member)
        line: Line[Holding]

        def opened() -> None:
            self._opened(member)

        def heard(message: Holding) -> None:
            self.heard(member, line, message)

        def ended(why: str) -> None:
            log.debug(
                "a neighbour's line ended",
                extra={"tree": self.tree.digest, "peer": member, "reason": why},
            )
            self._ended(member, line)

        line = self._site.lines.exchange(member, self.tree.digest, opened, heard, ended)
        self._opening[member] = line

    def _close_to(self, member: str) -> None:
        for lines in (self._opening, self._neighbours):
            line = lines.pop(member, None)
            if line is not None:
                line.close()

    async def _tell_hashes(self, chunks: Bits) -> None:
        """Tell the coordinator that is there now what chunks hash to, out of the store."""
        turned = self._turned
        hashes = await self._site.hashes(self.tree, chunks)
        numbers = list(hashes)
        for start in range(0, len(numbers), _HASHES_AT_ONCE):
            batch = numbers[start : start + _HASHES_AT_ONCE]
            if turned == self._turned and self._coordinator is not None:
                self._coordinator.send(Have(bits_of(batch), {number: hashes[number] for number in batch}))

    def _now(self) -> float:
        return self._loop.time()

    def _about(self, chunk: int, member: str | None) -> dict[str, object]:
        return {"tree": self.tree.digest, "chunk": chunk, "peer": member or "source"}


class Visiting:
    """A neighbour that opened a line to this node; see `cached.swarm.lines.Visitor`."""

    def __init__(self, joining: Joining, member: str, line: Line[Holding]) -> None:
        self._joining = joining
        self._member = member
        self._line = line

    def heard(self, message: Holding) -> None:
        self._joining.heard(self._member, self._line, message)

    def lost(self) -> None:
        self._joining.lost(self._member, self._line)
