"""Getting the missing chunks: from the right neighbour, from the source when granted, twice when late."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from cached.swarm.actions import Action, Ban, Cancel, Failure, Fetch
from cached.swarm.bits import Bits, all_bits, bits_of, each_bit, random_bit
from cached.swarm.flying import Flight, Flying
from cached.swarm.foremost import Foremost
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits
from cached.swarm.messages import Hash
from cached.swarm.picker import Rarity

_FIRST_LATE: Final = 2.0  # seconds for the first chunk, before anything is known
_LATE: Final = 3.0  # times what a chunk usually takes
_DUPLICATE_AT_END: Final = 1.5
_OVERDUE: Final = (
    2.0  # seconds that a chunk is late before the source is thought of: a busy node is no dead one
)
_GIVE_UP: Final = 10.0  # times what a chunk usually takes, and least seconds
_MOST_PATIENCE: Final = 32.0  # how far giving up is put off when nothing comes at all
_FOR_SOURCE: Final = 2  # downloads fewer while it reads the source, which all others wait for
_OTHER_ZONE: Final = 4.0  # uploads more that a neighbour of this zone may have and still be preferred


@dataclass(slots=True)
class Counts:
    """Chunks received, by whence. duplicate: here before; lied: failed verification; late: asked of two."""

    from_peers: int = 0
    from_source: int = 0
    duplicate: int = 0
    lied: int = 0
    late: int = 0


@dataclass(slots=True)
class Neighbour:
    """A neighbour as somebody to ask. load: uploads as it said last. full_until: it refused before that."""

    load: int = 0
    full_until: float = 0.0


class Fetching:
    """What is here, what is in flight, and what to ask for next. Times in seconds.

    near: whom something may be asked of, and whether it stands in this node's zone.
    """

    def __init__(
        self,
        count: int,
        have: Bits,
        hashes: Mapping[int, Hash],
        limits: FetchLimits,
        health: Health,
        rng: random.Random,
        *,
        wants: bool,
        foremost: Foremost | None = None,
    ) -> None:
        """`foremost`: when the first chunks are to come first."""
        self.everything = all_bits(count)
        self.have = have
        self.hashes = dict(hashes)
        self.known = bits_of(self.hashes)
        self.wants = wants
        self.flying = Flying()
        self.rarity = Rarity(self.everything)
        self.neighbours: dict[str, Neighbour] = {}
        self.near: dict[str, bool] = {}
        self.counts = Counts()
        self.spoiled: Bits = 0
        self.source_from = 0.0
        self._limits = limits
        self._health = health
        self._rng = rng
        self._foremost = foremost
        self._retry_at = float("inf")
        self._source_failures = 0
        self._patience = 1.0

    @property
    def missing(self) -> Bits:
        return self.everything & ~self.have if self.wants else 0

    @property
    def complete(self) -> bool:
        return self.have == self.everything

    @property
    def retry_at(self) -> float:
        """When a neighbour that is passed over now may be asked again."""
        return self._retry_at

    def learn(self, hashes: Mapping[int, Hash]) -> None:
        """What missing chunks must hash to; the last word stands, since it comes of a later read."""
        wanted = self.missing & ~self.spoiled
        for chunk, value in hashes.items():
            if chunk >= 0 and wanted >> chunk & 1:
                self.hashes[chunk] = value
                self.known |= 1 << chunk

    def forget_hashes(self) -> None:
        """All chunks are here, and their hashes on disk."""
        self.hashes.clear()
        self.known = 0

    def spoil(self, chunks: Bits, out: list[Action]) -> None:
        """`chunks` are not here after all. Their hashes may be what is wrong: only the source is believed."""
        self.have &= ~chunks
        self.known &= ~chunks
        self.spoiled |= chunks
        for chunk in each_bit(chunks):
            self.hashes.pop(chunk, None)
            for flight in list(self.flying.of(chunk)):
                if flight.member is not None:
                    self._cancel(flight, out)

    def holds(self, member: str, chunks: Bits, load: int) -> bool:
        """`member` told what it holds; True when that may be worth a `fill`."""
        neighbour = self.neighbours.get(member)
        if neighbour is None:
            neighbour = self.neighbours[member] = Neighbour()
        neighbour.load = load
        news = self.rarity.hold(member, chunks & self.everything)
        return bool(news & self.known & ~self.have & ~self.flying.pending)

    def forget(self, member: str) -> None:
        """Nothing is known of `member` any more; what was asked of it may still come."""
        self.neighbours.pop(member, None)
        self.rarity.forget(member)

    def fill(self, now: float, out: list[Action]) -> None:
        """Ask neighbours for as much as may be asked."""
        self._retry_at = float("inf")
        flying = self.flying
        reserved = _FOR_SOURCE if flying.asked_of(None) else 0
        open_ = self._open(now)
        while flying.slots < max(self._limits.downloads - reserved, 1):
            wanted = open_ & ~flying.pending
            if not wanted:
                return
            member = self.rarity.least_busy(wanted, self._usable(now, wanted), self._rng)
            if member is None:
                return
            self._ask(now, self._choose(wanted & self.rarity.holdings[member]), member, out)

    def granted(self, now: float, chunks: Bits, lease: float, rate: float, out: list[Action]) -> None:
        """Read `chunks` from the source, whatever neighbours are doing about them."""
        for chunk in each_bit(chunks & self.missing):
            if self.flying.find(chunk, None) is None:
                self.flying.start(chunk, None, now, now + lease)
                out.append(Fetch(chunk, None, lease, rate))

    def fill_alone(self, now: float, out: list[Action]) -> None:
        """Read the source without grants."""
        wanted = self.missing & ~self.flying.pending
        while wanted and now >= self.source_from and self.flying.asked_of(None) < self._limits.alone_reads:
            chunk = next(each_bit(wanted)) if self._foremost else random_bit(wanted, self._rng)
            wanted &= ~(1 << chunk)
            self.flying.start(chunk, None, now, float("inf"))
            out.append(Fetch(chunk, None, _GIVE_UP * _GIVE_UP))

    def received(self, now: float, chunk: int, member: str | None, blake3: Hash, out: list[Action]) -> bool:
        """A verified chunk is here; False when it was here before, or was spoiled and asked of a member."""
        flight = self.flying.find(chunk, member)
        if flight is not None:
            self.flying.end(flight)
        if member is None:
            self._source_failures = 0
        else:
            self._health.good(member)
            self._patience = 1.0
            if flight is not None:
                self.flying.took(now - flight.since)
        if self.have >> chunk & 1:
            self.counts.duplicate += 1
            return False
        if member is not None and self.spoiled >> chunk & 1:
            return False
        self.have |= 1 << chunk
        self.known |= 1 << chunk
        self.spoiled &= ~(1 << chunk)
        self.hashes[chunk] = blake3
        if member is None:
            self.counts.from_source += 1
        else:
            self.counts.from_peers += 1
        for other in list(self.flying.of(chunk)):
            # Late is soon said, by what a short chunk took; who is only that is still to be asked.
            if other.member is not None and _is_overdue(other, now):
                self._health.failed(now, other.member)
            self._cancel(other, out)
        return True

    def failed(
        self, now: float, chunk: int, member: str | None, why: Failure, out: list[Action]
    ) -> Flight | None:
        """A fetch ended without a chunk; returns the flight that it was, if it was one."""
        flight = self.flying.find(chunk, member)
        if flight is not None:
            self.flying.end(flight)
        if why is Failure.LOCAL:
            return flight
        if member is None:
            self._source_failures += 1
            self.source_from = max(self.source_from, now + min(2.0**self._source_failures / 4, 30.0))
        elif why is Failure.VERIFY:
            self.counts.lied += 1
            out.append(Ban(member, self._health.lied(now, member), f"chunk {chunk} failed verification"))
            for other in [other for other in self.flying if other.member == member]:
                self._cancel(other, out)
        elif why is Failure.MISSING:
            self.rarity.lose(member, 1 << chunk)
        elif why is Failure.FULL:
            if member in self.neighbours:
                wait = (self.flying.peer_seconds or 0.1) * (0.25 + 0.5 * self._rng.random())
                self.neighbours[member].full_until = now + min(wait, 1.0)
        else:
            self._health.failed(now, member)
        return flight

    def check(self, now: float, out: list[Action]) -> Bits:
        """Hedge what is late, give up what is hopeless; returns grants given up since their lease is over."""
        usual = self.flying.peer_seconds
        at_end = (self.missing & ~self.flying.pending) == 0
        late_after = _FIRST_LATE if usual is None else _LATE * usual
        duplicate_after = _DUPLICATE_AT_END * usual if usual is not None and at_end else late_after
        over = 0
        for flight in list(self.flying):
            if now >= flight.until:
                if flight.member is None:
                    over |= 1 << flight.chunk
                else:
                    self._health.failed(now, flight.member)
                    self._patience = min(2 * self._patience, _MOST_PATIENCE)
                self._cancel(flight, out)
            elif flight.member is not None:
                took = now - flight.since
                if took > late_after and not flight.late:
                    self.flying.delay(flight)
                if took > duplicate_after and len(self.flying.of(flight.chunk)) == 1:
                    self._ask_another(now, flight, out)
        return over

    @property
    def only_from_source(self) -> Bits:
        """Missing chunks that were spoiled, and that are not being read."""
        return self.missing & self.spoiled & ~self.flying.pending

    def unreachable(self, now: float) -> Bits:
        """Missing chunks that exist, and that no usable neighbour and no punctual flight can bring."""
        coming = usable = held = 0
        for flight in self.flying:
            if not _is_overdue(flight, now):
                coming |= 1 << flight.chunk
        for member, holdings in self.rarity.holdings.items():
            held |= holdings
            if self._health.trusted(now, member):
                usable |= holdings
        late = self.flying.pending & ~coming
        return self.missing & ~coming & (self.known | held) & (~(usable & self.known) | late)

    def withheld(self, now: float) -> Bits:
        """What neighbours hold that lied, fail again and again, or are late now.

        One that failed once is asked again soon. Where all did at the same time, this node's own link did.
        """
        late, held = self._overdue(now), 0
        for member in self.neighbours:
            if member in late or self._health.fails(now, member):
                held |= self.rarity.holdings.get(member, 0)
        return held

    def avoided(self, now: float) -> tuple[str, ...]:
        """Neighbours that failed or lied lately, or are late now."""
        late = self._overdue(now)
        return tuple(m for m in self.neighbours if m in late or not self._health.trusted(now, m))

    def _overdue(self, now: float) -> set[str | None]:
        return {flight.member for flight in self.flying if _is_overdue(flight, now)}

    def _usable(self, now: float, wanted: Bits) -> dict[str, float]:
        """Who may be asked now for any of `wanted`, and how busy each is."""
        usable = {}
        holders = [member for member in self.neighbours if self.rarity.holdings[member] & wanted]
        of_each = self._of_each(len(holders))
        late = {flight.member for flight in self.flying if flight.late}
        for member in holders:
            neighbour = self.neighbours[member]
            near = self.near.get(member)
            if near is None:  # it came before the coordinator's word on where it serves
                continue
            wait = max(neighbour.full_until, self._health.usable_from(member))
            if wait > now:
                self._retry_at = min(self._retry_at, wait)
                continue
            asked = self.flying.asked_of(member)
            # One that failed must make good with one chunk before it is asked for more.
            most = of_each if self._health.trusted(now, member) else 1
            if asked < most and member not in late:
                usable[member] = asked + 0.25 * neighbour.load + (0.0 if near else _OTHER_ZONE)
        return usable

    def _of_each(self, holders: int) -> int:
        """How many chunks to ask each of so many holders for.

        Of many, one: two that share an upload both come late, and are passed on late. Of the only one, all.
        """
        if holders > 2 * self._limits.downloads:
            return 1
        return self._limits.downloads if holders == 1 else self._limits.per_peer

    def _open(self, now: float) -> Bits:
        """What neighbours may be asked for."""
        known = self.missing & self.known
        if self._foremost is None:
            return known
        return self._foremost.look(known, self.rarity.holdings, self.avoided(now))

    def _choose(self, offered: Bits) -> int:
        """Which of `offered` to ask for: the rarest, or the first."""
        if self._foremost is not None:
            return self._foremost.choose(offered)
        return self.rarity.rarest(offered, self._rng)

    def _ask(self, now: float, chunk: int, member: str, out: list[Action]) -> None:
        seconds = self._patience * max(_GIVE_UP, _GIVE_UP * (self.flying.peer_seconds or 0.0))
        self.flying.start(chunk, member, now, now + seconds)
        out.append(Fetch(chunk, member, seconds))

    def _ask_another(self, now: float, late: Flight, out: list[Action]) -> None:
        bit = 1 << late.chunk
        holders = {
            member: load
            for member, load in self._usable(now, bit).items()
            if self.flying.find(late.chunk, member) is None
        }
        member = self.rarity.least_busy(bit, holders, self._rng) if holders else None
        if member is not None and self.known & bit:
            self.counts.late += 1
            self._ask(now, late.chunk, member, out)

    def _cancel(self, flight: Flight, out: list[Action]) -> None:
        self.flying.end(flight)
        out.append(Cancel(flight.chunk, flight.member))


def _is_overdue(flight: Flight, now: float) -> bool:
    return flight.late and now - flight.since > _OVERDUE
