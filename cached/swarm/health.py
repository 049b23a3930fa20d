"""Which members to leave alone for a while. One per node, for all trees."""

from __future__ import annotations

from typing import Final

_ASIDE_FIRST: Final = 1.0
_ASIDE_LONGEST: Final = 60.0
_BAN_FIRST: Final = 60.0
_BAN_LONGEST: Final = 3600.0


class Health:
    """Back-off per member. Times in seconds.

    A member that failed is set aside for 1 s, then twice as long each time, up to a minute; a success clears
    it. A member that lied is banned for a minute, then twice as long each time, up to an hour; nothing but
    time clears that.
    """

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._aside: dict[str, float] = {}
        self._banned: dict[str, tuple[float, float]] = {}

    def good(self, member: str) -> None:
        """It gave what was asked."""
        self._aside.pop(member, None)

    def failed(self, now: float, member: str) -> float:
        """Set it aside; returns for how long."""
        if self.usable_from(member) > now:
            return self.usable_from(member) - now
        seconds = min(2 * self._aside.get(member, _ASIDE_FIRST / 2), _ASIDE_LONGEST)
        self._aside[member] = seconds
        self._until[member] = now + seconds
        return seconds

    def lied(self, now: float, member: str) -> float:
        """Ban it; returns for how long."""
        seconds = min(2 * self._banned.get(member, (0.0, _BAN_FIRST / 2))[1], _BAN_LONGEST)
        self._banned[member] = now + seconds, seconds
        self._until[member] = max(now + seconds, self._until.get(member, 0.0))
        return seconds

    def trusted(self, now: float, member: str) -> bool:
        """Whether it may be asked, and gave what was asked the last time."""
        return member not in self._aside and self.usable_from(member) <= now

    def usable_from(self, member: str) -> float:
        """The time from which it may be asked again; in the past for a good one."""
        return self._until.get(member, 0.0)

    def banned(self, now: float, member: str) -> bool:
        return now < self._banned.get(member, (0.0, 0.0))[0]
