"""Keeping means for a while after their last use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Linger:
    """Calls `give_back` once nothing has been in use for `seconds`. Belongs to one event loop."""

    def __init__(self, seconds: float, give_back: Callable[[], None]) -> None:
        self._seconds = seconds
        self._give_back = give_back
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def use(self) -> Iterator[None]:
        """In use while the block runs."""
        self._users += 1
        self.stop()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users:
                self._timer = asyncio.get_running_loop().call_later(self._seconds, self._give_back)

    def stop(self) -> None:
        """Nothing is called any more, until the next use has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
