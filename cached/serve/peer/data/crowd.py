"""The connections that are open."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Final

from cached.serve.peer.data.connection import Connection

_NICE: Final = 10


class Crowd:
    """At most `most` connections, and half of them from one address. Thread-safe.

    Who comes when it is full takes the place of the one that has been idle longest.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads: dict[Connection, threading.Thread] = {}
        self._counted: set[Connection] = set()  # without those that had to make room and are still leaving
        self._lock = threading.Lock()
        self._closed = False

    def admit(self, one: Connection) -> bool:
        """Run `one` in a thread of its own, if there is room; else it is the caller's."""
        with self._lock:
            if self._closed or not self._make_room(one.address):
                return False
            thread = threading.Thread(target=self._run, args=(one,), name="cached-data", daemon=True)
            self._threads[one] = thread
            self._counted.add(one)
            try:
                thread.start()
            except RuntimeError:  # the system gives no more threads
                self._forget(one)
                return False
            return True

    def cut(self) -> None:
        """End all connections, and admit no more."""
        with self._lock:
            self._closed = True
            for one in self._threads:
                one.cut()

    def leave(self, seconds: float) -> int:
        """After `cut`, wait for all threads; returns how many have not ended within `seconds`."""
        with self._lock:
            threads = list(self._threads.values())
        due = time.monotonic() + seconds
        for thread in threads:
            thread.join(max(due - time.monotonic(), 0))
        return sum(thread.is_alive() for thread in threads)

    def _make_room(self, address: str) -> bool:
        neighbours = [one for one in self._counted if one.address == address]
        if len(neighbours) >= self._most // 2:
            return self._dismiss(neighbours)
        return len(self._counted) < self._most or self._dismiss(list(self._counted))

    def _dismiss(self, among: list[Connection]) -> bool:
        idle = [(since, one) for one in among if (since := one.idle_since) is not None]
        if not idle:
            return False
        _, longest = min(idle, key=lambda pair: pair[0])
        longest.cut()
        self._counted.remove(longest)
        return True

    def _run(self, one: Connection) -> None:
        _give_way()
        try:
            one.run()
        finally:
            with self._lock:
                self._forget(one)

    def _forget(self, one: Connection) -> None:
        del self._threads[one]
        self._counted.discard(one)


def _give_way() -> None:
    """Have this thread stand back behind the node's own pods. Its I/O does too: Linux derives that."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
