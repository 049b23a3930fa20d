"""Whether an event loop still turns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_BEAT: Final = 5.0


class Pulse:
    """Felt by any thread; `beat` belongs to the loop. One that was silent for `limit` seconds hangs."""

    def __init__(self, monotonic: Callable[[], float], limit: float = 60.0) -> None:
        self._monotonic = monotonic
        self._limit = limit
        self._last = monotonic()

    @property
    def alive(self) -> bool:
        return self._monotonic() - self._last < self._limit

    async def beat(self) -> None:
        """Forever."""
        while True:
            self._last = self._monotonic()
            await asyncio.sleep(_BEAT)
