"""Which chunks to tell the coordinator of since no neighbour can bring them."""

from __future__ import annotations

from typing import Final

from cached.swarm.bits import Bits, lowest
from cached.swarm.fetching import Fetching
from cached.swarm.messages import Stuck

_LEAST, _MOST = 2.0, 5.0  # seconds before a chunk counts as unreachable
_PATIENCE: Final = 20.0  # times what a chunk usually takes
_EVERY: Final = 0.5
AT_ONCE: Final = 32
"""Chunks in one Stuck, at most."""


class Despair:
    """Tells at once of what only neighbours that fail hold, and of what only the source may bring; of what is
    unreachable otherwise after a while. Times in seconds."""

    def __init__(self) -> None:
        self._unreachable: Bits = 0
        self._looked_at = 0.0
        self._from = 0.0

    def begin(self, now: float) -> None:
        self._looked_at = now

    def look(self, now: float, fetching: Fetching) -> Stuck | None:
        unreachable = fetching.unreachable(now)
        hopeless = unreachable & fetching.withheld(now) | fetching.only_from_source
        stuck = hopeless if now >= self._from else 0
        usual = fetching.flying.peer_seconds or 0.0
        if now >= self._looked_at + min(max(_PATIENCE * usual, _LEAST), _MOST):
            stuck |= unreachable & self._unreachable
            self._unreachable, self._looked_at = unreachable, now
        if not stuck:
            return None
        self._from = now + _EVERY
        return Stuck(lowest(stuck, AT_ONCE), fetching.avoided(now))
