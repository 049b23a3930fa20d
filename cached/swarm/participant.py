"""One node's part in the swarm of one tree."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Final

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.actions import (
    Action,
    ChooseCoordinator,
    Complete,
    Failure,
    FetchAllYourself,
    Knock,
    SendCoordinator,
    TellHashes,
)
from cached.swarm.bits import Bits, all_bits, bits_of, each_bit
from cached.swarm.despair import Despair
from cached.swarm.exchange import Exchange
from cached.swarm.fetching import Counts, Fetching
from cached.swarm.foremost import Foremost
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits
from cached.swarm.messages import (
    VERSION,
    Ask,
    Bye,
    FromCoordinator,
    GaveUp,
    Grant,
    Hash,
    Hashes,
    Have,
    Hello,
    Holding,
    NeighbourInfo,
    Neighbours,
    Pause,
    Refused,
    Throttled,
    WantHashes,
    Welcome,
)
from cached.swarm.reports import Reports
from cached.swarm.seeking import Seeking
from cached.swarm.trial import Trial

_CHECK, _CHECK_IDLE = 0.25, 2.0  # seconds between looks at what is late, and when nothing can be
_SILENCE: Final = 12.0  # seconds without a word, idle, before a coordinator counts as gone
_PAUSE_MOST: Final = 60.0
_NEVER: Final = float("inf")


class Participant:
    """Events in, actions out. `now` is any clock in seconds that only goes forward.

    Every event returns what to do, in that order, and moves `wake_at`. Messages of wrong shape are for the
    wire to refuse; numbers beyond the tree are passed over here.
    """

    def __init__(
        self,
        tree: Digest,
        chunk_count: int,
        size: int,
        me: Member,
        data_address: str,
        have: Bits,
        hashes: Mapping[int, Hash],
        limits: FetchLimits,
        health: Health,
        rng: random.Random,
        *,
        wants: bool = True,
        in_order: bool = False,
    ) -> None:
        """`size` in bytes, of at least one chunk; one `health` for all participants of a node.

        `hashes` of what is in `have`, or of a part, or none: the driver is asked for the others when they are
        wanted (TellHashes). A complete tree's are not kept. in_order: the first chunks are of use before the
        last are here, so they are to come first.
        """
        if chunk_count < 1:
            raise ValueError(f"{tree} has no chunks, so it needs no swarm")
        self.tree = tree
        self.me = me
        self.alone = False
        self._chunk_count = chunk_count
        self._size = size
        self._data_address = data_address
        self._limits = limits
        self._rng = rng
        foremost = Foremost(me.address, all_bits(chunk_count)) if in_order else None
        self._fetching = Fetching(
            chunk_count, have, hashes, limits, health, rng, wants=wants, foremost=foremost
        )
        self._exchange = Exchange(me, self._fetching, limits.announce_seconds)
        self._reports = Reports()
        self._despair = Despair()
        self._trial = Trial()
        self._seeking = Seeking(tree, me.address, limits.welcome_seconds)
        self._moved = False
        self._heard_at = 0.0
        self._check_at = 0.0

    @property
    def load(self) -> int:
        """Uploads of this node under way and waiting, for neighbours to know; the driver sets it."""
        return self._exchange.load

    @load.setter
    def load(self, load: int) -> None:
        self._exchange.load = load

    @property
    def counts(self) -> Counts:
        return self._fetching.counts

    @property
    def have(self) -> Bits:
        return self._fetching.have

    @property
    def complete(self) -> bool:
        return self._fetching.complete

    @property
    def neighbours(self) -> tuple[NeighbourInfo, ...]:
        return self._exchange.neighbours

    @property
    def holdings(self) -> dict[str, int]:
        """How many chunks each neighbour holds, as far as it said."""
        told = self._fetching.rarity.holdings
        members = (info.member.address for info in self.neighbours)
        return {member: told.get(member, 0).bit_count() for member in members}

    @property
    def coordinator(self) -> str | None:
        """The member chosen to coordinate, None when it has not said Welcome."""
        return self._seeking.chosen if self._seeking.welcomed else None

    @property
    def wake_at(self) -> float:
        """When to call `tick`, if nothing happens before."""
        return min(
            self._exchange.due,
            self._seeking.answer_by,
            self._check_at,
            self._fetching.retry_at,
            self._reports.due if self._seeking.welcomed else _NEVER,
        )

    def data_address(self, member: str) -> str | None:
        """`host:port` that serves the bytes of a neighbour; known for each that something is asked of."""
        info = self._exchange.info(member)
        return info.data_address if info else None

    def hash_of(self, chunk: int) -> Hash | None:
        """What `chunk` must hash to; known for every chunk that is fetched from a member."""
        return self._fetching.hashes.get(chunk)

    # The ways of the swarm.

    def start(self, now: float, members: Sequence[Member]) -> list[Action]:
        """Join. `members` are the live ones; whether this node is among them does not matter."""
        self._seeking.members(member.address for member in members)
        self._heard_at = self._check_at = now
        self._despair.begin(now)
        out: list[Action] = []
        self._choose(now, out)
        if self.complete:
            self._completed(out)
        return out

    def leave(self, now: float) -> list[Action]:
        """Say goodbye to all. No event may follow."""
        return [SendCoordinator(Bye()), *self._exchange.leave()]

    def members_changed(self, now: float, members: Sequence[Member]) -> list[Action]:
        self._seeking.members(member.address for member in members)
        out: list[Action] = []
        if self._seeking.has_better(now):
            self._choose(now, out)
        return out

    def coordinator_lost(self, now: float) -> list[Action]:
        """The stream to the coordinator failed or ended."""
        out: list[Action] = []
        if self._seeking.lost(now):
            self._shun(now, out)
        else:
            self._choose(now, out)
        return out

    def answered(self, now: float, member: str) -> list[Action]:
        """`member` answers a Knock."""
        self._seeking.good(member)
        out: list[Action] = []
        if self._seeking.has_better(now):
            self._choose(now, out)
        return out

    def told(self, now: float, message: FromCoordinator) -> list[Action]:
        """The coordinator chosen last said something."""
        out: list[Action] = []
        self._heard_at = now
        match message:
            case Welcome():
                self._welcome(now, message, out)
            case Neighbours(neighbours):
                self._exchange.adopt(neighbours, out)
                self._fetching.fill(now, out)
            case Grant(chunks, lease, rate):
                self._granted(now, chunks, lease, rate, out)
            case Hashes(hashes):
                self._learn(now, hashes, out)
            case WantHashes(chunks):
                self._tell_hashes(chunks & self.have, out)
            case Pause(seconds):
                self._fetching.source_from = max(self._fetching.source_from, now + min(seconds, _PAUSE_MOST))
            case Refused():
                self._shun(now, out)
        return out

    # Neighbours.

    def connected(self, now: float, member: str) -> list[Action]:
        """A stream with a neighbour is open, whoever opened it; a newer one replaces an older."""
        return [self._exchange.connected(member)]

    def heard(self, now: float, member: str, message: Holding) -> list[Action]:
        """A neighbour told what it holds."""
        out: list[Action] = []
        if self._exchange.heard(member, message):
            self._heard_at = now
            self._fetching.fill(now, out)
        return out

    def disconnected(self, now: float, member: str) -> list[Action]:
        """The stream with a neighbour failed, ended, or could not be opened."""
        self._exchange.disconnected(now, member)
        return []

    # Chunks.

    def received(self, now: float, chunk: int, member: str | None, blake3: Hash) -> list[Action]:
        """A chunk is on disk, and right: neighbours may have it."""
        out: list[Action] = []
        if not self._fetching.received(now, chunk, member, blake3, out):
            return out
        self._exchange.added()
        if member is None:
            out.append(SendCoordinator(Have(1 << chunk, {chunk: blake3})))
        else:
            self._reports.added(chunk)
        if self.complete:
            self._report(now, out)
            self._ask(out)
            self._completed(out)
        self._go_on(now, out)
        return out

    def spoiled(self, now: float, chunks: Bits) -> list[Action]:
        """`chunks` were wrong although each was right by its hash, and are not here any more.

        They are read from the source. Neighbours and coordinator are told by new streams, since what is said
        on a stream can only be added to.
        """
        out: list[Action] = []
        self._fetching.spoil(chunks & self._fetching.everything, out)
        self._exchange.reconnect(out)
        self._choose(now, out)
        self._go_on(now, out)
        return out

    def failed(self, now: float, chunk: int, member: str | None, why: Failure) -> list[Action]:
        """A chunk did not come, or came wrong."""
        out: list[Action] = []
        flight = self._fetching.failed(now, chunk, member, why, out)
        if member is None and flight is not None and not self.alone:
            out.append(SendCoordinator(GaveUp(1 << chunk, why.value)))
        if why is not Failure.LOCAL:
            self._go_on(now, out)
        return out

    def source_throttled(self, now: float, seconds: float) -> list[Action]:
        """The source answered 429 or 503; the transfer waits that long by itself."""
        self._fetching.source_from = max(self._fetching.source_from, now + seconds)
        return [SendCoordinator(Throttled(seconds))]

    def tick(self, now: float) -> list[Action]:
        """Time passed."""
        out: list[Action] = []
        if now >= self._seeking.answer_by:
            if self._seeking.resting:
                self._choose(now, out)
            else:
                self._shun(now, out)
        if now >= self._check_at:
            self._check_at = now + (_CHECK if self._fetching.missing else _CHECK_IDLE)
            self._check(now, out)
        self._go_on(now, out)
        return out

    def _go_on(self, now: float, out: list[Action]) -> None:
        self._fetching.fill(now, out)
        if self.alone:
            self._fetching.fill_alone(now, out)
        out += self._exchange.announce(now)
        if now >= self._reports.due:
            self._report(now, out)

    def _report(self, now: float, out: list[Action]) -> None:
        have = self._reports.flush(now) if self._seeking.welcomed else None
        if have is not None:
            out.append(SendCoordinator(have))

    def _ask(self, out: list[Action]) -> None:
        if self._seeking.welcomed:
            ready = self._limits.source_reads if self._fetching.missing else 0
            ask = self._reports.ask(Ask(ready, self._trial.wanted, self._trial.proven))
            if ask is not None:
                out.append(SendCoordinator(ask))

    def _granted(self, now: float, chunks: Bits, lease: float, rate: float, out: list[Action]) -> None:
        self.alone = False
        self._tell_hashes(chunks & self.have, out)
        self._fetching.granted(now, chunks, lease, rate, out)

    def _tell_hashes(self, here: Bits, out: list[Action]) -> None:
        hashes = self._fetching.hashes
        known = {chunk: hashes[chunk] for chunk in each_bit(here & self._fetching.known)}
        if known:
            out.append(SendCoordinator(Have(bits_of(known), known)))
        elsewhere = here & ~self._fetching.known
        if elsewhere:
            out.append(TellHashes(elsewhere))

    def _completed(self, out: list[Action]) -> None:
        self._fetching.forget_hashes()
        out.append(Complete())

    def _learn(self, now: float, hashes: Mapping[int, Hash], out: list[Action]) -> None:
        self._fetching.learn(hashes)
        if hashes:
            self._fetching.fill(now, out)

    def _check(self, now: float, out: list[Action]) -> None:
        over = self._fetching.check(now, out)
        if over:
            out.append(SendCoordinator(GaveUp(over, "the lease is over")))
        out += self._exchange.dial(now)
        if self._seeking.welcomed:
            out += [Knock(member) for member in self._seeking.to_knock(now)]
        received = self.counts.from_peers + self.counts.from_source
        slow = self._size / self._chunk_count / self._limits.slow_rate
        self._trial.look(now, received, self._fetching.flying.slowness(now), slow)
        self._ask(out)
        if self._fetching.missing:
            stuck = self._despair.look(now, self._fetching)
            if stuck is not None and self._seeking.welcomed:
                out.append(SendCoordinator(stuck))
            idle = not self._fetching.flying.pending and now >= self._fetching.source_from
            if idle and now - self._heard_at > _SILENCE and self._seeking.welcomed:
                self._heard_at = now
                self._shun(now, out)

    # The coordinator.

    def _choose(self, now: float, out: list[Action]) -> None:
        chosen = self._seeking.choose(now)
        self._look_alone(now, out)
        if chosen is None:
            return
        reading = bits_of(flight.chunk for flight in self._fetching.flying if flight.member is None)
        hello = Hello(
            VERSION,
            self.tree,
            self._chunk_count,
            self._size,
            self.me,
            self._data_address,
            self.have,
            reading,
            wants=self._fetching.wants,
            moved=self._moved,
            neighbours=tuple(info.member.address for info in self.neighbours),
        )
        self._reports.begin()
        out += [ChooseCoordinator(chosen), SendCoordinator(hello)]

    def _shun(self, now: float, out: list[Action]) -> None:
        """The coordinator failed us; turn to the next."""
        if self._seeking.chosen is not None:
            self._seeking.shun(now, self._seeking.chosen)
        self._choose(now, out)

    def _look_alone(self, now: float, out: list[Action]) -> None:
        since = self._seeking.unanswered_since
        if since is not None and now - since > self._limits.alone_seconds and not self.alone:
            self.alone = True
            out.append(FetchAllYourself("no coordinator answers"))
            self._fetching.fill_alone(now, out)

    def _welcome(self, now: float, welcome: Welcome, out: list[Action]) -> None:
        if welcome.version != VERSION:
            self._shun(now, out)
            return
        self._seeking.answered()
        self._moved = True
        self.alone = False
        self._reports.every(welcome.report_seconds)
        self._exchange.adopt(welcome.neighbours, out)
        self._ask(out)
        self._learn(now, welcome.hashes, out)
