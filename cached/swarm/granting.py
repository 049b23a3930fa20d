"""Who reads which chunk of the source next."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable
from typing import Final

from cached.swarm.bits import Bits, all_bits, each_bit, lowest, random_bit
from cached.swarm.leases import Leases
from cached.swarm.limits import SourceLimits
from cached.swarm.seats import Seat
from cached.swarm.width import Width

_GATHER: Final = 0.1  # seconds in which each member is granted one chunk at most
_COME_BACK: Final = 1.0  # seconds for a member whose stream broke to say Hello again
_REST_MOST: Final = 16.0
_READING_MOST: Final = 64  # leases that a newcomer may bring
_QUIET: Final = 2.0  # seconds without anything that nobody holds before the source may be read again
_PROBES: Final = 100  # one chunk in so many may be read only to see whether the source is quicker


class Granting:
    """Decides grants; `leases` are those outstanding. Times in seconds.

    First what members are stuck on, then chunks that nobody holds, in order, to all in turn, then chunks that
    others hold, for members whose neighbours are slower than the source.
    """

    def __init__(
        self, limits: SourceLimits, rng: random.Random, seats: dict[str, Seat], settled_at: float
    ) -> None:
        self.count = 0
        self.reads = 0
        self._limits = limits
        self._rng = rng
        self._seats = seats
        self._width = Width(limits.reads)
        self.leases = Leases(self._width)
        self._everything: Bits = 0
        self._chunk_bytes = 0.0
        self._from = settled_at
        self._gathered_at = settled_at
        self._turns: deque[str] = deque()
        self._behind: dict[str, None] = {}
        self._orphans: dict[int, float] = {}
        self._orphaned: Bits = 0
        self._urgent: dict[int, str] = {}
        self._budget = self._budget_at = 0.0
        self._probes = 0
        self._unheld_at = settled_at

    @property
    def gathered_at(self) -> float:
        """When the first members have had time to arrive."""
        return self._gathered_at

    def begin(self, now: float, count: int, size: int) -> None:
        """The first member told of `count` chunks of `size` bytes in all."""
        self.count = count
        self._everything = all_bits(count)
        self._chunk_bytes = size / count
        self._gathered_at = now + _GATHER
        self._unheld_at = now

    def wait(self, until: float) -> None:
        """Grant nothing before."""
        self._from = max(self._from, until)

    def halve(self) -> None:
        """The source complained: half as many reads at a time."""
        self._width.halve()

    def sit(self, now: float, member: str, reading: Bits) -> None:
        """A member came, or came back; it reads what an earlier coordinator granted, or what this one did."""
        self._turns.append(member)
        self.leases.end(member, self.leases.of(member) & ~reading)
        for chunk in each_bit(lowest(reading & self._everything & ~self.leases.granted, _READING_MOST)):
            self.leases.grant(now, chunk, member)

    def leave(self, now: float, member: str, *, for_good: bool) -> None:
        """A member left, or its stream broke while it may read on; then it says so with the next Hello."""
        self._turns.remove(member)
        self._behind.pop(member, None)
        self._urgent = {chunk: other for chunk, other in self._urgent.items() if other != member}
        if for_good:
            self.leases.end(member, self.leases.of(member))
        else:
            self.leases.shorten(member, now + _COME_BACK)

    def asks(self, member: str, seat: Seat) -> None:
        """A member said what it is ready for."""
        if seat.behind:
            self._behind[member] = None
        else:
            self._behind.pop(member, None)
            seat.probed = False

    def orphaned(self, chunks: Bits, until: float) -> None:
        """Nobody is known to hold `chunks` any more; somebody may, and tell before `until`."""
        for chunk in each_bit(chunks):
            self._orphans[chunk] = until
        self._orphaned |= chunks

    def urge(self, chunk: int, member: str) -> None:
        """Only the source can help `member` with this chunk."""
        self._urgent.setdefault(chunk, member)

    def fulfilled(self, now: float, member: str, seat: Seat, chunks: Bits) -> Bits:
        """`member` holds `chunks`; returns those that were granted to it."""
        self._orphaned &= ~chunks
        granted = chunks & self.leases.of(member)
        if granted:
            seat.rest = 1.0
            self.reads += granted.bit_count()
            self.leases.fulfilled(now, member, granted)
        return granted

    def gave_up(self, now: float, member: str, seat: Seat, chunks: Bits) -> None:
        if self.leases.end(member, chunks):
            self._rest(now, seat)

    def accused(self, now: float, seat: Seat) -> None:
        """What only this member holds is of no use to others."""
        seat.rest_until = max(seat.rest_until, now + _REST_MOST)

    def tick(self, now: float) -> None:
        """Leases end, and orphans are orphans for good."""
        for member, _ in self.leases.expired(now):
            if member in self._seats:
                self._rest(now, self._seats[member])
        for chunk in [chunk for chunk, due in self._orphans.items() if due <= now]:
            del self._orphans[chunk]
            self._orphaned &= ~(1 << chunk)

    def decide(self, now: float, held: Bits) -> dict[str, Bits]:
        """New grants by member; `held` are the chunks that somebody holds."""
        given: dict[str, Bits] = {}
        if now < self._from:
            return given
        for grants in (self._stuck(now), self._unheld(now, held), self._held(now)):
            for member, chunk in grants:
                self.leases.grant(now, chunk, member)
                given[member] = given.get(member, 0) | 1 << chunk
        if self.leases.room > 0:
            self._width.starved()
        return given

    def _stuck(self, now: float) -> Iterable[tuple[str, int]]:
        for chunk, member in list(self._urgent.items()):
            if (self.leases.granted | self._seats[member].have) >> chunk & 1:
                del self._urgent[chunk]
            elif self.leases.room > 0 and self._may_read(now, member) and self._pay(now):
                del self._urgent[chunk]
                yield member, chunk

    def _unheld(self, now: float, held: Bits) -> Iterable[tuple[str, int]]:
        if self._everything & ~held:
            self._unheld_at = now
        unheld = self._everything & ~held & ~self.leases.granted & ~self._orphaned
        passed = 0
        while unheld and self.leases.room > 0 and passed < len(self._turns):
            member = self._turns[0]
            self._turns.rotate(-1)
            if not self._may_read(now, member):
                passed += 1
                continue
            if not self._pay(now):
                return
            passed = 0
            bit = unheld & -unheld
            unheld ^= bit
            yield member, bit.bit_length() - 1

    def _held(self, now: float) -> Iterable[tuple[str, int]]:
        if now < self._unheld_at + _QUIET:  # in a cold swarm all are behind, and the source is busy
            return
        for member in self._behind:
            seat = self._seats[member]
            while self.leases.room > 0 and self._may_read(now, member):
                wanted = self._everything & ~seat.have & ~self.leases.granted
                # Of use is what was tried: a member that gets more at once may owe it to others.
                proven = seat.proven and seat.probed
                if not wanted or not (proven or self._probes <= self.count // _PROBES):
                    break
                if not self._pay(now):
                    return
                self._probes += not proven
                seat.probed = True
                yield member, random_bit(wanted, self._rng)

    def _may_read(self, now: float, member: str) -> bool:
        seat = self._seats[member]
        if not seat.wants or seat.rest_until > now:
            return False
        # While members still arrive, the first chunks are not all for the first of them.
        ready = seat.ready if now >= self._gathered_at else min(seat.ready, 1)
        return self.leases.of(member).bit_count() < ready

    def _pay(self, now: float) -> bool:
        """Take one chunk's bytes from what the rate allows; False when nothing is left for now."""
        rate = self._limits.rate
        if not rate:
            return True
        most = max(rate, self._chunk_bytes)
        self._budget = min(self._budget + rate * (now - self._budget_at), most)
        self._budget_at = now
        if self._budget < self._chunk_bytes:
            return False
        self._budget -= self._chunk_bytes
        return True

    def _rest(self, now: float, seat: Seat) -> None:
        seat.rest_until = now + seat.rest
        seat.rest = min(2 * seat.rest, _REST_MOST)
