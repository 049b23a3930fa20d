"""Registries that want to be left alone for a while. Pure; times are monotonic seconds."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 300.0
"""Seconds: no registry is left alone for longer, whatever it asks for."""


class Pauses:
    """Until when each host is not to be asked."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def note(self, host: str, seconds: float, now: float) -> None:
        """The host asked to be left alone for so long."""
        self._until[host] = max(now + min(seconds, LONGEST), self._until.get(host, now))

    def left(self, host: str, now: float) -> float:
        """Seconds for which the host is still to be left alone; 0 for none."""
        return max(0.0, self._until.get(host, now) - now)
