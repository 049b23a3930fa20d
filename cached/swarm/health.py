"""Which members to leave alone for a while. One per node, for all trees."""

from __future__ import annotations

from typing import Final

_ASIDE_FIRST: Final = 1.0
_ASIDE_LONGEST: Final = 60.0
_BAN_FIRST: Final = 60.0
_BAN_LONGEST: Final = 3600.0
_NEVER: Final = (0.0, 0.0)


class Health:
    """Back-off per member. Times in seconds.

    A member that failed is set aside for 1 s, then twice as long each time, up to a minute; a success clears
    it. A member that lied is banned for a minute, then twice as long each time, up to an hour; nothing but
    time clears that.
    """

    def __init__(self) -> None:
        self._aside: dict[str, tuple[float, float]] = {}
        self._banned: dict[str, tuple[float, float]] = {}

    def good(self, member: str) -> None:
        """It gave what was asked."""
        self._aside.pop(member, None)

    def failed(self, now: float, member: str) -> float:
        """Set it aside; returns for how long."""
        if self.usable_from(member) > now:
            return self.usable_from(member) - now
        seconds = min(2 * self._aside.get(member, (0.0, _ASIDE_FIRST / 2))[1], _ASIDE_LONGEST)
        self._aside[member] = now + seconds, seconds
        return seconds

    def lied(self, now: float, member: str) -> float:
        """Ban it; returns for how long."""
        seconds = min(2 * self._banned.get(member, (0.0, _BAN_FIRST / 2))[1], _BAN_LONGEST)
        self._banned[member] = now + seconds, seconds
        return seconds

    def trusted(self, now: float, member: str) -> bool:
        """Whether it may be asked, and gave what was asked the last time."""
        return member not in self._aside and self.usable_from(member) <= now

    def fails(self, now: float, member: str) -> bool:
        """Whether it is of no use for now: it lied, or failed when it was to make good."""
        return self.banned(now, member) or self._aside.get(member, _NEVER)[1] > _ASIDE_FIRST

    def usable_from(self, member: str) -> float:
        """The time from which it may be asked again; in the past for a good one."""
        return max(self._aside.get(member, _NEVER)[0], self._banned.get(member, _NEVER)[0])

    def banned(self, now: float, member: str) -> bool:
        return now < self._banned.get(member, _NEVER)[0]
