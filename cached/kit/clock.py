"""The machine's own clocks."""

from __future__ import annotations

import time


class SystemClock:
    """Implements `cached.core.clock.Clock`."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
