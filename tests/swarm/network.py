"""Links, and flows that share them, in virtual time."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

SEGMENTS = 4
"""A chunk crosses the network in so many segments."""
_WINDOW = 2


class Timeline:
    """Things to happen, in order of time. Seconds, from 0."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, time: float, what: Callable[..., None], *args: Any) -> None:
        self._number += 1
        heapq.heappush(self._heap, (max(time, self.now), self._number, what, args))

    def after(self, seconds: float, what: Callable[..., None], *args: Any) -> None:
        self.at(self.now + seconds, what, *args)

    def run(self, until: float, done: Callable[[], bool]) -> None:
        """Go on until `done`, or until that time, or until nothing is left to happen."""
        heap = self._heap
        while heap and not done():
            if heap[0][0] > until:
                self.now = until
                return
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)


class Flow:
    """One chunk on its way. `arrived` is called at the end, unless `dead` is set before."""

    __slots__ = ("arrived", "dead", "down", "drained", "sent", "up", "waiting")

    def __init__(self, up: Link, down: Link, arrived: Callable[[], None]) -> None:
        self.up = up
        self.down = down
        self.arrived = arrived
        self.sent = self.drained = 0
        self.dead = False
        self.waiting = False


class Link:
    """One direction of a node's link: flows take turns, segment by segment, at `rate` chunks per second.

    A sender holds back when two of a flow's segments wait at the receiver, so that one who is served
    slowly leaves the link to others, as TCP does. moved: segments that crossed it.
    """

    __slots__ = ("_busy", "_next", "_queue", "_step", "_timeline", "moved")

    def __init__(self, timeline: Timeline, rate: float, *, sends: bool) -> None:
        self._timeline = timeline
        self._step = 1.0 / (rate * SEGMENTS)
        self._queue: deque[Flow] = deque()
        self._busy = False
        self._next = self._sent if sends else self._drained
        self.moved = 0

    def offer(self, flow: Flow) -> None:
        self._queue.append(flow)
        if not self._busy:
            self._busy = True
            self._start()

    def _start(self) -> None:
        queue = self._queue
        while queue:
            flow = queue.popleft()
            if not flow.dead:
                self._timeline.after(self._step, self._next, flow)
                return
        self._busy = False

    def _sent(self, flow: Flow) -> None:
        self.moved += 1
        flow.sent += 1
        flow.waiting = False
        self._again(flow)
        flow.down.offer(flow)
        self._start()

    def _drained(self, flow: Flow) -> None:
        self.moved += 1
        flow.drained += 1
        if flow.drained == SEGMENTS:
            if not flow.dead:
                flow.arrived()
        else:
            flow.up._again(flow)
        self._start()

    def _again(self, flow: Flow) -> None:
        if flow.sent < SEGMENTS and not flow.waiting and flow.sent - flow.drained < _WINDOW:
            flow.waiting = True
            self.offer(flow)


def send(up: Link, down: Link, arrived: Callable[[], None]) -> Flow:
    """Send a chunk over both links."""
    flow = Flow(up, down, arrived)
    up._again(flow)
    return flow
