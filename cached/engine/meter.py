"""Counting a flight's bytes, and guessing when it ends."""

from __future__ import annotations

from collections import deque

from cached.core.clock import Clock
from cached.core.progress import Progress

_WINDOW = 10.0
_STEP = 0.25


class Meter:
    """Counts received bytes; the rate is the mean of the last ten seconds."""

    def __init__(self, clock: Clock, total: int, found: int) -> None:
        self._clock = clock
        self._total = total
        self._found = found
        self._lost = 0
        self.from_source = 0
        self.from_peers = 0
        self._marks = deque([(clock.monotonic(), 0)])

    def count(self, received: int) -> None:
        """Note bytes that came from the source and were verified."""
        self.from_source += received
        self._mark()

    def count_peer(self, received: int) -> None:
        """Note bytes that came from other members and were verified."""
        self.from_peers += received
        self._mark()

    def _mark(self) -> None:
        now = self._clock.monotonic()
        if now - self._marks[-1][0] >= _STEP:
            self._marks.append((now, self.from_source + self.from_peers))
            while now - self._marks[0][0] > _WINDOW:
                self._marks.popleft()

    def discount(self, lost: int) -> None:
        """Note bytes that have to come again, such as a blob whose digest was wrong."""
        self._lost += lost

    @property
    def progress(self) -> Progress:
        received = self.from_source + self.from_peers
        began, before = self._marks[0]
        elapsed = self._clock.monotonic() - began
        rate = (received - before) / elapsed if elapsed > 0 else 0.0
        done = max(0, min(self._total, self._found + received - self._lost))
        return Progress(
            total=self._total,
            done=done,
            found=self._found,
            from_source=self.from_source,
            from_peers=self.from_peers,
            rate=rate,
            eta=(self._total - done) / rate if rate > 0 else None,
        )
