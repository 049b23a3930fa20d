"""Time as a port, so that tests run in virtual time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Two clocks: one that people set, one that only goes forward. Both in seconds."""

    def now(self) -> float:
        """Unix time. It may jump either way; never measure with it."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed point; never goes back."""
        ...
