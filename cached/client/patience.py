"""How long a call goes on trying to reach a daemon that is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cached.client.errors import Unreachable
from cached.core.errors import CachedError, Draining

FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 1.0


class Patience:
    """Pure: told the time, it says when to try again, or to give up.

    Only a daemon that is absent or draining is worth waiting for: all else is its answer. With a
    `timeout` we wait until that is over; without one, `wait` seconds since the daemon was last heard.
    """

    def __init__(self, now: float, timeout: float | None, wait: float, jitter: Callable[[], float]) -> None:
        self._deadline = None if timeout is None else now + timeout
        self._wait = wait
        self._heard = now
        self._pause = FIRST_PAUSE
        self._jitter = jitter

    def left(self, now: float) -> float | None:
        """Seconds that the next attempt may take; None when there is no limit."""
        return None if self._deadline is None else max(0.0, self._deadline - now)

    def heard(self, now: float) -> None:
        """The daemon spoke: if it goes away later, the waiting begins anew."""
        self._heard = now
        self._pause = FIRST_PAUSE

    def pause(self, error: CachedError, now: float) -> float | None:
        """Seconds to wait before the next attempt; None when `error` is final."""
        if not isinstance(error, Unreachable | Draining):
            return None
        end = self._heard + self._wait if self._deadline is None else self._deadline
        pause = self._pause * (0.75 + 0.5 * self._jitter())
        self._pause = min(LONGEST_PAUSE, self._pause * 2)
        return pause if now + pause < end else None
