"""Keeping blobs from eviction for a while, whether or not a tree uses them. In memory only."""

from __future__ import annotations

import asyncio
from typing import Final

from cached.core.digest import Digest
from cached.store.parts import Parts

_TICK: Final = 1.0


class Keeping:
    """What is kept is held: nobody counts on its room before it is let go."""

    def __init__(self, parts: Parts) -> None:
        self._ledger = parts.state.ledger
        self._clock = parts.clock

    def keep(self, blob: Digest, seconds: float) -> None:
        """As Store.keep."""
        self._ledger.keep(blob, self._clock.monotonic() + seconds)

    def let_go(self, blob: Digest) -> None:
        """As Store.let_go."""
        self._ledger.let_go(blob)

    def expire(self) -> None:
        """Let go of what was kept long enough; what was to be kept longest is the last to be evicted."""
        now = self._clock.monotonic()
        over = [(until, name) for name, until in self._ledger.kept.items() if until <= now]
        for _, name in sorted(over):
            self._ledger.let_go(name)

    async def run(self) -> None:
        """Forever: let keeps expire."""
        while True:
            self.expire()
            await asyncio.sleep(_TICK)
