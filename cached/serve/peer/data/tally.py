"""Who got how much."""

from __future__ import annotations

import threading
from typing import Final

_MOST: Final = 4096


class Tally:
    """Bytes by address, of those that were sent to last. Thread-safe."""

    def __init__(self) -> None:
        self._sent: dict[str, int] = {}  # sent to longest ago first
        self._lock = threading.Lock()

    def add(self, address: str, count: int) -> None:
        with self._lock:
            self._sent[address] = self._sent.pop(address, 0) + count
            if len(self._sent) > _MOST:
                del self._sent[next(iter(self._sent))]

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._sent)
