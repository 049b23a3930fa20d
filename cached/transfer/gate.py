"""Waiting for one's turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cached.core.clock import Clock
from cached.transfer.turns import Ask, Line, Turns


class Gate:
    """Lets tasks through as `Turns` decides. Belongs to one event loop."""

    def __init__(self, turns: Turns, clock: Clock) -> None:
        self._turns = turns
        self._clock = clock
        self._waiting: dict[Ask, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def turn(self, line: Line, length: int, host: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it while the block runs. A cancelled waiter leaves the line."""
        ask = self._turns.ask(line, length, host)
        self._waiting[ask] = asyncio.get_running_loop().create_future()
        try:
            self._advance()
            await self._waiting[ask]
            yield
        finally:
            del self._waiting[ask]
            self._turns.leave(ask)
            self._advance()

    def pause(self, host: str, seconds: float) -> None:
        """Begin nothing more at `host` for that long."""
        self._turns.pause(host, self._clock.monotonic() + seconds)

    def _advance(self) -> None:
        now = self._clock.monotonic()
        granted, wake_at = self._turns.advance(now)
        for ask in granted:
            future = self._waiting[ask]
            if not future.done():  # cancelled a moment ago: its task leaves when it runs next
                future.set_result(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            self._timer = asyncio.get_running_loop().call_later(wake_at - now, self._advance)
