"""Who may send, and who waits."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class _Ask:
    client: str
    granted: bool = False


class Slots:
    """Uploads at once, `most`, and half as many waiting. Thread-safe.

    First come, first served; but while others wait, no client has more than half of the slots, and none
    has more than half of the places to wait.
    """

    def __init__(self, most: int, tell: Callable[[int], None]) -> None:
        """tell: given each new number of uploads under way and waiting, one call after another."""
        self._most = most
        self._places = max(most // 2, 1)
        self._tell = tell
        self._running: Counter[str] = Counter()
        self._waiting: list[_Ask] = []  # longest first
        self._turn = threading.Condition()
        self._closed = False

    def enter(self, client: str, patience: float) -> bool:
        """Whether `client` may send, after at most `patience` seconds; if so, pair with `leave`."""
        ask = _Ask(client)
        with self._turn:
            if self._closed or not self._has_place(client):
                return False
            self._waiting.append(ask)
            self._settle()
            self._turn.wait_for(lambda: ask.granted or self._closed, patience)
            if not ask.granted:
                self._waiting.remove(ask)
                self._settle()
            return ask.granted

    def leave(self, client: str) -> None:
        """An upload has ended."""
        with self._turn:
            self._running[client] -= 1
            self._running += Counter()  # forgets who has none
            self._settle()

    def close(self) -> None:
        """Nobody waits any more."""
        with self._turn:
            self._closed = True
            self._turn.notify_all()

    def _has_place(self, client: str) -> bool:
        if self._running.total() < self._most:
            return True
        waiting = sum(ask.client == client for ask in self._waiting)
        return len(self._waiting) < self._places and waiting < max(self._places // 2, 1)

    def _settle(self) -> None:
        while self._waiting and self._running.total() < self._most:
            ask = next((ask for ask in self._waiting if self._is_modest(ask.client)), self._waiting[0])
            self._waiting.remove(ask)
            self._running[ask.client] += 1
            ask.granted = True
            self._turn.notify_all()
        self._tell(self._running.total() + len(self._waiting))

    def _is_modest(self, client: str) -> bool:
        return self._running[client] < max(self._most // 2, 1)
