"""The swarm of one tree as its coordinator sees it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.actions import Send
from cached.swarm.bits import Bits, all_bits, each_bit, lowest
from cached.swarm.despair import AT_ONCE
from cached.swarm.granting import Granting
from cached.swarm.graph import Graph
from cached.swarm.hashbook import HashBook
from cached.swarm.limits import SourceLimits
from cached.swarm.messages import (
    VERSION,
    Ask,
    Bye,
    FromCoordinator,
    FromParticipant,
    GaveUp,
    Grant,
    Hash,
    Hashes,
    Have,
    Hello,
    NeighbourInfo,
    Neighbours,
    Pause,
    Refused,
    Stuck,
    Survey,
    Throttled,
    WantHashes,
    Welcome,
)
from cached.swarm.seats import Holders, Seat

_NEVER: Final = float("inf")
_HASH_SHARE, _REPORT_SHARE = 0.75, 0.25  # of the messages that a coordinator may send and receive
_TICK: Final = 0.5
_EDGES_EVERY: Final = 0.25  # seconds between two changes of a member's neighbours
_HEARTBEAT: Final = 4.0  # seconds without a word to those who wait
_WANT_EVERY: Final = 1.0  # seconds before hashes are asked of another holder
_PAUSE_MOST: Final = 60.0  # the source will say so again if it wants to be left alone for longer
_HOLDERS: Final = 64  # named in a survey
_TRIES: Final = 2  # other neighbours for a chunk that a member is stuck on, before the source


class Coordinator:
    """Events in, messages out. `now` is any clock in seconds that only goes forward.

    All state is soft: a coordinator that begins with nothing knows all again when the members said Hello.
    A member is whom the stream's certificate names, whatever it says itself.
    """

    def __init__(self, tree: Digest, limits: SourceLimits, rng: random.Random, settled_at: float) -> None:
        """`settled_at`: when all others had time to find out that this node coordinates `tree`, such as a few
        seconds after the daemon's start or the last change of members; no grant is given before."""
        self.tree = tree
        self._limits = limits
        self._rng = rng
        self._settled_at = settled_at
        self._everything: Bits = 0
        self._seats: dict[str, Seat] = {}
        self._graph = Graph(limits.degree, rng, lambda member: self._seats[member].member.zone)
        self._granting = Granting(limits, rng, self._seats, settled_at)
        self._holders = Holders(0)
        self._book = HashBook()
        self._ticked_at = self._hashes_sent_at = self._edges_sent_at = self._wanted_at = 0.0
        self._paused_until = 0.0
        self._out: list[Send] = []

    @property
    def empty(self) -> bool:
        """Nobody is here; nothing is lost by dropping it."""
        return not self._seats

    @property
    def survey(self) -> Survey:
        complete = sorted(member for member, seat in self._seats.items() if seat.complete)
        granting = self._granting
        return Survey(
            len(self._seats),
            len(complete),
            granting.count,
            self._holders.held.bit_count(),
            len(granting.leases),
            granting.reads,
            tuple(complete[:_HOLDERS]),
        )

    @property
    def wake_at(self) -> float:
        """When to call `tick`, if nothing happens before."""
        if not self._seats:
            return _NEVER
        due = self._ticked_at + _TICK
        if self._granting.gathered_at > self._ticked_at:
            due = min(due, self._granting.gathered_at)
        if self._book.has_fresh:
            due = min(due, self._hashes_sent_at + self._hashes_every)
        if self._graph.changed:
            due = min(due, self._edges_sent_at + _EDGES_EVERY)
        return due

    @property
    def _hashes_every(self) -> float:
        return min(max(len(self._seats) / (self._limits.messages * _HASH_SHARE), 0.02), 2.0)

    @property
    def _report_every(self) -> float:
        return min(max(len(self._seats) / (self._limits.messages * _REPORT_SHARE), 0.1), 5.0)

    def hello(self, now: float, member: str, hello: Hello) -> list[Send]:
        """A member opened a stream. One that is here already begins anew."""
        if member in self._seats:
            self._remove(now, member, for_good=False)
        refusal = self._refusal(hello)
        if refusal:
            return [*self._take(), Send(member, Refused(refusal))]
        if not self._everything:
            self._everything = all_bits(hello.chunk_count)
            self._holders = Holders(hello.chunk_count)
            self._granting.begin(now, hello.chunk_count, hello.size)
        if hello.moved and not self._seats:
            self._settled_at = max(self._settled_at, now + self._limits.settle_seconds)
            self._granting.wait(self._settled_at)
        have = hello.have & self._everything
        complete = have == self._everything
        me = Member(member, hello.member.zone)
        seat = Seat(me, hello.data_address, have, hello.wants and not complete, complete)
        self._seats[member] = seat
        self._holders.add(have)
        self._granting.sit(now, member, hello.reading)
        self._granting.fulfilled(now, member, seat, have)
        self._join(now, member, seat, hello.neighbours)
        self._say(member, Welcome(VERSION, self._report_every, {}, self._infos(member)))
        for batch in self._book.batches(self._everything & ~have if seat.wants else 0):
            self._say(member, Hashes(batch))
        self._want_hashes(now)
        self._grant(now)
        return self._take()

    def message(self, now: float, member: str, message: FromParticipant) -> list[Send]:
        """A member said something; one that is not here is passed over."""
        seat = self._seats.get(member)
        if seat is None:
            return []
        match message:
            case Have(chunks, hashes):
                self._has(now, member, seat, chunks & self._everything, hashes)
            case Ask(ready, behind, proven):
                seat.ready, seat.behind, seat.proven = ready, behind, proven
                self._granting.asks(member, seat)
            case GaveUp(chunks, _):
                self._granting.gave_up(now, member, seat, chunks)
            case Stuck(chunks, avoid):
                self._stuck(now, member, seat, chunks & self._everything & ~seat.have, set(avoid))
            case Throttled(seconds):
                self._throttled(now, seconds)
            case Bye():
                self._remove(now, member, for_good=True)
            case Hello():
                return self.hello(now, member, message)
        self._grant(now)
        self._flush(now)
        return self._take()

    def lost(self, now: float, member: str) -> list[Send]:
        """The stream of a member ended."""
        if member in self._seats:
            self._remove(now, member, for_good=False)
        self._grant(now)
        return self._take()

    def tick(self, now: float) -> list[Send]:
        """Time passed."""
        self._ticked_at = now
        self._granting.tick(now)
        if now >= self._wanted_at + _WANT_EVERY:
            self._book.ask_again()
            self._want_hashes(now)
        for member, seat in self._seats.items():
            if not seat.complete:
                self._settle(member, seat)
        self._grant(now)
        self._flush(now)
        return self._take()

    def _refusal(self, hello: Hello) -> str:
        if hello.version != VERSION:
            return f"this node speaks version {VERSION} of the swarm's messages, not {hello.version}"
        if hello.tree != self.tree:
            return f"this swarm is of {self.tree}, not of {hello.tree}"
        if hello.chunk_count < 1 or self._everything not in (0, all_bits(hello.chunk_count)):
            return f"{hello.chunk_count} chunks are not how others divide this tree"
        return ""

    def _remove(self, now: float, member: str, *, for_good: bool) -> None:
        self._granting.leave(now, member, for_good=for_good)
        orphans = self._holders.remove(self._seats[member].have)
        self._granting.orphaned(orphans, now + 2 * self._report_every)
        self._graph.remove(member)
        del self._seats[member]

    def _has(self, now: float, member: str, seat: Seat, chunks: Bits, hashes: Mapping[int, Hash]) -> None:
        news = chunks & ~seat.have
        seat.have |= news
        self._holders.add(news)
        read = self._granting.fulfilled(now, member, seat, chunks)
        fresh = self._book.learn(hashes, seat.have, read)
        if fresh:
            # Those who can fetch these chunks first learn at once, the others with many hashes at a time.
            early = Hashes(fresh)
            for other in sorted(self._graph.edges[member]):
                if self._seats[other].wants:
                    self._say(other, early)
        if not seat.complete and seat.have == self._everything:
            seat.complete, seat.wants = True, False
            for other in list(self._graph.edges[member]):
                if self._seats[other].complete:
                    self._graph.part(member, other)

    def _stuck(self, now: float, member: str, seat: Seat, chunks: Bits, avoid: set[str]) -> None:
        """Give the member a neighbour that holds the chunk; if that did not help, a grant.

        Who is accused of being useless by two members reads nothing for a while.
        """
        for other in sorted(avoid & self._seats.keys()):
            accused = self._seats[other]
            accused.accusers.add(member)
            if len(accused.accusers) >= min(2, len(self._seats) - 1):
                accused.accusers.clear()
                self._granting.accused(now, accused)
        for chunk in each_bit(lowest(chunks & ~self._granting.leases.granted, AT_ONCE)):
            tried = seat.tries.get(chunk, 0)
            seat.tries[chunk] = tried + 1
            known = self._book.known >> chunk & 1
            if not (tried < _TRIES and known and self._introduce(member, chunk, avoid)):
                self._granting.urge(chunk, member)

    def _introduce(self, member: str, chunk: int, avoid: set[str]) -> bool:
        """Whether `member` has, or now gets, a neighbour that holds the chunk and is not to be avoided."""
        near = self._graph.edges[member]
        holders = [
            other
            for other, seat in self._seats.items()
            if seat.have >> chunk & 1 and other != member and other not in avoid
        ]
        strangers = [other for other in holders if other not in near]
        if not strangers:
            return bool(holders)
        for other in sorted(near & avoid):
            self._graph.part(member, other)
        return self._graph.join(member, self._rng.choice(strangers))

    def _throttled(self, now: float, seconds: float) -> None:
        """One node's 429 or 503 slows all."""
        seconds = min(seconds, _PAUSE_MOST)
        if now + seconds <= self._paused_until:
            return
        if now >= self._paused_until:
            self._granting.halve()
        self._paused_until = now + seconds
        self._granting.wait(self._paused_until)
        for member in self._seats:
            if self._granting.leases.of(member):
                self._say(member, Pause(seconds))

    def _grant(self, now: float) -> None:
        given = self._granting.decide(now, self._holders.held)
        leases = self._granting.leases
        share = self._limits.rate / max(len(leases), 1)
        for member, chunks in given.items():
            self._say(member, Grant(chunks, leases.seconds, share))

    def _join(self, now: float, member: str, seat: Seat, before: tuple[str, ...]) -> None:
        """Give a member neighbours; those that it had under another coordinator, if they come, too."""
        self._graph.add(member)
        for other in before:
            if other in self._seats:
                self._graph.join(member, other)
        if not before or now >= self._settled_at:
            self._settle(member, seat)
        self._graph.changed.discard(member)

    def _settle(self, member: str, seat: Seat) -> None:
        self._graph.settle(member, lambda other: not (seat.complete and self._seats[other].complete))

    def _want_hashes(self, now: float) -> None:
        if not any(seat.wants for seat in self._seats.values()):
            self._book = HashBook()  # the holders keep them on disk
            return
        for member, chunks in self._book.wanted(self._holders.held, self._seats.items(), self._rng):
            self._wanted_at = now
            self._say(member, WantHashes(chunks))

    def _flush(self, now: float) -> None:
        if self._book.has_fresh and now >= self._hashes_sent_at + self._hashes_every:
            self._tell_hashes(now, self._book.take_fresh())
        elif len(self._granting.leases) and now >= self._hashes_sent_at + _HEARTBEAT:
            self._tell_hashes(now, {})
        if self._graph.changed and now >= self._edges_sent_at + _EDGES_EVERY:
            self._edges_sent_at = now
            for member in sorted(self._graph.changed):
                self._say(member, Neighbours(self._infos(member)))
            self._graph.changed.clear()

    def _tell_hashes(self, now: float, hashes: dict[int, Hash]) -> None:
        self._hashes_sent_at = now
        message = Hashes(hashes)
        for member, seat in self._seats.items():
            if seat.wants:
                self._say(member, message)

    def _infos(self, member: str) -> tuple[NeighbourInfo, ...]:
        return tuple(self._seats[other].info for other in sorted(self._graph.edges[member]))

    def _say(self, member: str, message: FromCoordinator) -> None:
        self._out.append(Send(member, message))

    def _take(self) -> list[Send]:
        out, self._out = self._out, []
        return out
