"""Time that tests move on."""

from __future__ import annotations

import time


class TurnedClock:
    """The machine's clocks, ahead by what `turn` was told."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def turn(self, seconds: float) -> None:
        self._ahead += seconds

    def now(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead
