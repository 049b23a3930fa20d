"""The bound on bytes per second over all uploads."""

from __future__ import annotations

import threading
import time
from typing import Final

from cached.kit.bucket import Bucket

_LARGEST: Final = 256 << 10
_SMALLEST: Final = 16 << 10
_STEPS: Final = 8  # pieces of each upload in a second, about, where the bound is low


class Pace:
    """One queue of all uploads for bandwidth. Thread-safe. A rate of 0 is no bound.

    piece: bytes to send at a time, so few that under a low bound every upload still moves all the time.
    """

    def __init__(self, rate: int, uploads: int) -> None:
        wanted = rate // (_STEPS * uploads) if rate else _LARGEST
        self.piece = min(max(wanted, _SMALLEST), _LARGEST)
        self._bucket = Bucket(rate)
        self._lock = threading.Lock()
        self._over = threading.Event()

    def wait(self, count: int) -> float:
        """Return when `count` bytes may be sent; says how many seconds that took. At once after `stop`."""
        with self._lock:
            now = time.monotonic()
            seconds = max(self._bucket.ready_at - now, 0.0)
            self._bucket.charge(count, now)
        if seconds:
            self._over.wait(seconds)
        return seconds

    def stop(self) -> None:
        """Nobody waits any more."""
        self._over.set()
