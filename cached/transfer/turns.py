"""Whose turn it is: the chunks in flight, shared out among the fetches."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from cached.kit.bucket import Bucket


@dataclass(eq=False, slots=True)
class Group:
    """The bounds of one source, or of all peers; 0 connections leave it to the global bound.

    metered: whether its bytes count against the global bandwidth, which bounds sources and not peers.
    """

    connections: int
    bucket: Bucket
    metered: bool = True
    running: int = 0


@dataclass(eq=False, slots=True)
class Line:
    """One fetch's chunks, standing in line."""

    group: Group
    waiting: deque[Ask] = field(default_factory=deque)
    running: int = 0
    served: int = 0


@dataclass(eq=False, slots=True)
class Ask:
    """One chunk of `length` bytes that wants its turn to be read from `host`."""

    line: Line
    length: int
    host: str
    granted: bool = False


class Turns:
    """Decides which chunk goes next. Pure: no clock, no tasks; times are monotonic, in seconds.

    At most `connections` chunks run, and no more of each group than it may. The group with the fewest
    running goes first, so that a slow source cannot starve peers, nor they a source; in it the fetch with
    the fewest running, then the one that has waited longest: a huge blob cannot starve a small one. A host
    that asked for a pause gets none before it is over, and what waits for that, or for bandwidth, holds
    none.
    """

    def __init__(self, connections: int, bandwidth: int) -> None:
        self._connections = connections
        self._bucket = Bucket(bandwidth)
        self._running = 0
        self._turn = 0
        self._lines: dict[Line, None] = {}
        self._paused: dict[str, float] = {}

    def ask(self, line: Line, length: int, host: str) -> Ask:
        """Stand in line; `advance` tells when it is granted, `leave` ends it."""
        ask = Ask(line, length, host)
        line.waiting.append(ask)
        self._lines[line] = None
        return ask

    def leave(self, ask: Ask) -> None:
        """The chunk has ended, or wants no turn any more."""
        if ask.granted:
            ask.line.running -= 1
            ask.line.group.running -= 1
            self._running -= 1
        else:
            ask.line.waiting.remove(ask)
            if not ask.line.waiting:
                del self._lines[ask.line]

    def pause(self, host: str, until: float) -> None:
        """Begin nothing more at `host` before `until`."""
        self._paused[host] = max(until, self._paused.get(host, until))

    def advance(self, now: float) -> tuple[list[Ask], float | None]:
        """Grant all that may begin now; also when to look again, if time alone will let more begin."""
        self._paused = {host: until for host, until in self._paused.items() if until > now}
        granted: list[Ask] = []
        while self._running < self._connections:
            line, wake_at = self._next(now)
            if line is None:
                return granted, wake_at
            granted.append(self._grant(line, now))
        return granted, None

    def _next(self, now: float) -> tuple[Line | None, float | None]:
        best: Line | None = None
        wake_at: float | None = None
        for line in self._lines:
            group = line.group
            if group.connections and group.running >= group.connections:
                continue
            pause = self._paused.get(line.waiting[0].host, now)
            ready_at = max(group.bucket.ready_at, pause)
            if group.metered:
                ready_at = max(ready_at, self._bucket.ready_at)
            if ready_at > now:
                wake_at = ready_at if wake_at is None else min(wake_at, ready_at)
            elif best is None or _rank(line) < _rank(best):
                best = line
        return best, wake_at

    def _grant(self, line: Line, now: float) -> Ask:
        ask = line.waiting.popleft()
        if not line.waiting:
            del self._lines[line]
        ask.granted = True
        self._turn += 1
        line.served = self._turn
        line.running += 1
        line.group.running += 1
        self._running += 1
        line.group.bucket.charge(ask.length, now)
        if line.group.metered:
            self._bucket.charge(ask.length, now)
        return ask


def _rank(line: Line) -> tuple[int, int, int]:
    return line.group.running, line.running, line.served
