"""Whether a body still comes fast enough."""

from __future__ import annotations

from cached.transfer.retry import Failed


class Pace:
    """Watches one body arrive. Pure; times are monotonic seconds.

    Too slow is: nothing for `stall_timeout`, or fewer than `min_rate` bytes per second over any of the
    successive spans of that length.
    """

    def __init__(self, now: float, stall_timeout: float, min_rate: int) -> None:
        self._stall_timeout = stall_timeout
        self._min_rate = min_rate
        self._last_at = now
        self._span_began = now
        self._span_bytes = 0

    def note(self, received: int, now: float) -> None:
        """`received` bytes have come since the last note. Raises Failed when it goes too slowly."""
        self._span_bytes += received
        if received:
            self._last_at = now
        elif now - self._last_at >= self._stall_timeout:
            raise Failed("stall", f"it sent nothing for {self._stall_timeout:g} s")
        span = now - self._span_began
        if span >= self._stall_timeout:
            if self._span_bytes < self._min_rate * span:
                raise Failed("slow", f"it sent {self._span_bytes} bytes in {span:.1f} s")
            self._span_began = now
            self._span_bytes = 0
