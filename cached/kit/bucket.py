"""A bound on bytes per second."""

from __future__ import annotations


class Bucket:
    """Bytes per second, as the time from which more bytes may be begun.

    Whoever begins bytes only when `ready_at` has come keeps, over any span of time, to `rate` times the
    span plus the one chunk that was under way. A rate of 0 is no bound. Times are monotonic, in seconds.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.ready_at = float("-inf")

    def charge(self, count: int, now: float) -> None:
        """Note that `count` bytes are begun now."""
        if self.rate:
            self.ready_at = max(self.ready_at, now) + count / self.rate
