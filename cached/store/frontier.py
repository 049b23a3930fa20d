"""SHA-256 of a whole blob, taken in order while its chunks arrive in any order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from typing import Final

from cached.core.digest import SHA256
from cached.core.sink import Buffer
from cached.store.whole import Reread

_SHARE: Final = 4


class Frontier:
    """Implements `WholeCheck`. The frontier is the first chunk that is not hashed yet.

    One thread at a time hashes; the others leave their chunk and go. A chunk ahead of the frontier waits
    in its buffer when the pool can spare that, else it is read from disk when its turn comes. Nobody is
    kept long: a thread hashes its own chunk and at most `_SHARE` that waited, and the next goes on.
    """

    def __init__(self, count: int, reread: Reread, on_disk: Iterable[int] = ()) -> None:
        """For `count` chunks; those `on_disk` will not be offered."""
        self._count = count
        self._reread = reread
        self._sha256 = hashlib.sha256()
        self._lock = threading.Lock()
        self._next = 0
        self._busy = False
        self._waiting: dict[int, Buffer | None] = dict.fromkeys(on_disk)

    def offer(self, index: int, buffer: Buffer) -> None:
        with self._lock:
            in_turn = index == self._next and not self._busy
            if not in_turn:
                self._waiting[index] = buffer if buffer.try_retain() else None
            if self._busy:
                return
            self._busy = True
        if in_turn:
            self._sha256.update(buffer.view)
        self._hash_waiting(passed=int(in_turn), share=_SHARE)

    def finish(self) -> str:
        for index in range(self._next, self._count):
            self._hash(index, self._waiting.pop(index, None))
        return f"{SHA256}:{self._sha256.hexdigest()}"

    def close(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for buffer in waiting.values():
            if buffer is not None:
                buffer.release()

    def _hash_waiting(self, *, passed: int, share: int) -> None:
        """Move the frontier on by `passed` chunks, then over up to `share` that wait for it; then be idle."""
        while True:
            with self._lock:
                self._next += passed
                if not share or self._next not in self._waiting:
                    self._busy = False
                    return
                index, buffer = self._next, self._waiting.pop(self._next)
            try:
                self._hash(index, buffer)
            except BaseException:
                with self._lock:
                    self._waiting[index] = None
                    self._busy = False
                raise
            passed, share = 1, share - 1

    def _hash(self, index: int, buffer: Buffer | None) -> None:
        if buffer is not None:
            try:
                self._sha256.update(buffer.view)
            finally:
                buffer.release()
            return
        advanced = self._sha256.copy()  # a read that fails half-way leaves no trace
        for piece in self._reread(index):
            advanced.update(piece)
        self._sha256 = advanced
