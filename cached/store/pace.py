"""Reading at a capped rate, in threads that can be stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from cached.kit.pool import Pool

P = ParamSpec("P")
T = TypeVar("T")


class Stopped(Exception):
    """Raised in the reading thread, whose result nobody wants any more."""


class Pace:
    """Called with a number of bytes before they are read: waits until they fit the rate, or raises Stopped.

    rate: bytes per second; 0 means no bound. done: bytes allowed so far.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._next = 0.0
        self._stopped = threading.Event()
        self.done = 0

    def __call__(self, count: int) -> None:
        now = time.monotonic()
        if self._rate:
            self._next = max(self._next, now)
            delay = self._next - now
            self._next += count / self._rate
        else:
            delay = 0.0
        if self._stopped.wait(delay) if delay else self._stopped.is_set():
            raise Stopped
        self.done += count

    async def run(self, pool: Pool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work`, which calls this pace, in a thread. Cancelled, it stops before the next bytes."""
        try:
            return await pool.run(work, *args, **kwargs)
        except asyncio.CancelledError:
            self._stopped.set()
            raise
