"""What was told last."""

from __future__ import annotations

from collections.abc import Iterable

from cached.core.peer import Member
from cached.peers.membership.port import Changed


class Roll:
    """The members as `changed` was told them; it hears only of differences."""

    def __init__(self, changed: Changed) -> None:
        self._changed = changed
        self._told: tuple[Member, ...] | None = None

    def call(self, members: Iterable[Member]) -> None:
        """All members there are now. Of two with one address, the one that says its zone counts."""
        zones: dict[str, str] = {}
        for member in members:
            zones[member.address] = max(zones.get(member.address, ""), member.zone)
        now = tuple(sorted(Member(address, zone) for address, zone in zones.items()))
        if now != self._told:
            self._told = now
            self._changed(now)
