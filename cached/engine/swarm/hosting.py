"""The swarms that this node coordinates."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import Busy, Draining
from cached.swarm.actions import Send
from cached.swarm.coordinator import Coordinator
from cached.swarm.limits import SourceLimits
from cached.swarm.lines import Line, Seat
from cached.swarm.messages import FromCoordinator, FromParticipant, Grant, Hello, Refused, Survey
from cached.swarm.rendezvous import weight
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_SETTLE: Final = 2.0  # seconds in which all members find out that this node coordinates a tree now
_MOST: Final = 4096


class Hosting:
    """One coordinator per tree for as long as anybody has a seat there. Belongs to one event loop."""

    def __init__(self, me: str, limits: SourceLimits, rng: random.Random, metrics: Metrics) -> None:
        self._me = me
        self._limits = limits
        self._rng = rng
        self._metrics = metrics
        self._hosted: dict[Digest, _Hosted] = {}
        self._others: tuple[str, ...] = ()
        # When members changed lately, and who the others were until then: nobody, before the start.
        self._changes: list[tuple[float, tuple[str, ...]]] = [(asyncio.get_running_loop().time(), ())]
        self._closed = False

    def __len__(self) -> int:
        return len(self._hosted)

    def members_changed(self, others: tuple[str, ...]) -> None:
        """These are the members but this node; they may think of it as a coordinator where they did not."""
        now = asyncio.get_running_loop().time()
        self._changes = [change for change in self._changes if change[0] + _SETTLE > now]
        self._changes.append((now, self._others))
        self._others = others

    def survey(self, tree: Digest) -> Survey | None:
        """What the coordinator of `tree` knows, if it is here."""
        hosted = self._hosted.get(tree)
        return hosted.coordinator.survey if hosted else None

    def sit(self, member: str, hello: Hello, line: Line[FromCoordinator]) -> Seat:
        """As `cached.swarm.lines.Swarms.sit`."""
        if self._closed:
            raise Draining("this node coordinates no swarm: the daemon is stopping")
        hosted = self._hosted.get(hello.tree)
        if hosted is None:
            if len(self._hosted) >= _MOST:
                raise Busy(f"this node coordinates {_MOST} swarms already", hint="do without a coordinator")
            coordinator = Coordinator(hello.tree, self._limits, self._rng, self._settled_at(hello.tree))
            hosted = self._hosted[hello.tree] = _Hosted(coordinator, self._metrics)
            log.debug("coordinating a swarm", extra={"tree": hello.tree})
        return _Seated(self, hosted, member, hello, line)

    def _settled_at(self, tree: Digest) -> float:
        """When all had time to find out that `tree` is for this node to coordinate, if it was not before."""
        mine = weight(tree, self._me)
        for changed_at, others in reversed(self._changes):
            if not others or any(weight(tree, other) > mine for other in others):
                return changed_at + _SETTLE
        return 0.0

    def left(self, hosted: _Hosted) -> None:
        """Somebody gave a seat up; a swarm without any is over."""
        tree = hosted.coordinator.tree
        if hosted.coordinator.empty and self._hosted.get(tree) is hosted:
            del self._hosted[tree]
            hosted.stop()

    def close(self) -> None:
        """End all swarms here; the members find another coordinator."""
        self._closed = True
        for hosted in list(self._hosted.values()):
            hosted.stop()
            for line in list(hosted.lines.values()):
                line.close()
        self._hosted.clear()


class _Hosted:
    """A coordinator at work: its members' lines, and its next tick."""

    def __init__(self, coordinator: Coordinator, metrics: Metrics) -> None:
        self.coordinator = coordinator
        self.lines: dict[str, Line[FromCoordinator]] = {}
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        return self._loop.time()

    def do(self, sends: list[Send]) -> None:
        """Send what the coordinator wants said, and come back when it wants to."""
        for send in sends:
            line = self.lines.get(send.member)
            if line is None:
                continue
            match send.message:
                case Grant(chunks):
                    self._metrics.swarm_grants.inc(chunks.bit_count())
                    log.debug(
                        "source reads are granted",
                        extra={
                            "tree": self.coordinator.tree,
                            "peer": send.member,
                            "chunks": show_chunks(chunks),
                        },
                    )
                case Refused(reason):
                    log.info(
                        "a member is refused",
                        extra={"tree": self.coordinator.tree, "peer": send.member, "reason": reason},
                    )
            line.send(send.message)
            if isinstance(send.message, Refused):
                line.close()
        self.stop()
        wake_at = self.coordinator.wake_at
        if wake_at != float("inf"):
            self._timer = self._loop.call_at(wake_at, self._tick)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self.do(self.coordinator.tick(self.now()))


class _Seated:
    """A member's seat; see `cached.swarm.lines.Seat`."""

    def __init__(
        self, hosting: Hosting, hosted: _Hosted, member: str, hello: Hello, line: Line[FromCoordinator]
    ) -> None:
        self._hosting = hosting
        self._hosted = hosted
        self._member = member
        self._line = line
        hosted.lines[member] = line
        hosted.do(hosted.coordinator.hello(hosted.now(), member, hello))

    def heard(self, message: FromParticipant) -> None:
        if self._taken():
            self._hosted.do(self._hosted.coordinator.message(self._hosted.now(), self._member, message))

    def lost(self) -> None:
        if self._taken():
            del self._hosted.lines[self._member]
            self._hosted.do(self._hosted.coordinator.lost(self._hosted.now(), self._member))
            self._hosting.left(self._hosted)

    def _taken(self) -> bool:
        """Whether nobody else sits here now: a member that came again has a newer seat."""
        return self._hosted.lines.get(self._member) is self._line


def show_chunks(chunks: int) -> str:
    """A set of chunks for the log: `3`, or `3 and 11 more`."""
    first = (chunks & -chunks).bit_length() - 1
    more = chunks.bit_count() - 1
    return f"{first} and {more} more" if more > 0 else str(first)
