"""SHA-256 of a whole blob, taken in order while its chunks arrive in any order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cached.core.digest import SHA256
from cached.core.sink import Buffer
from cached.store.whole import Reread

_NEAR: Final = 32  # chunks ahead of the frontier that wait for it
_STILL: Final = 0.05  # seconds without a move of the frontier after which nobody waits for it
_SHARE: Final = 4  # chunks of others that a caller hashes beyond his own


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A chunk in memory: in a retained buffer, or in one whose owner is waiting in `offer`."""

    buffer: Buffer
    retained: bool

    def let_go(self) -> None:
        if self.retained:
            self.buffer.release()


class Frontier:
    """Implements `WholeCheck`. The frontier is the first chunk that is not hashed yet.

    One thread at a time hashes. A chunk ahead of the frontier waits in its buffer when the pool can spare
    that. If it cannot, the caller waits with it as long as the frontier is near and moves: SHA-256 is slower
    than many a network, and reading again would be slower still, so much that the frontier would never catch
    up. A chunk far ahead, or before which another is long in coming, is read from disk when its turn comes.
    """

    def __init__(self, count: int, reread: Reread, on_disk: Iterable[int] = ()) -> None:
        """For `count` chunks; those `on_disk` will not be offered."""
        self._count = count
        self._reread = reread
        self._sha256 = hashlib.sha256()
        self._turn = threading.Condition()
        self._next = 0
        self._busy = False
        self._here: dict[int, _Waiting | None] = dict.fromkeys(on_disk)  # None: to be read from disk

    def offer(self, index: int, buffer: Buffer) -> None:
        with self._turn:
            own = None
            if self._next == index and not self._busy:
                own = index
            elif buffer.try_retain():
                self._here[index] = _Waiting(buffer, retained=True)
            elif index - self._next <= _NEAR:
                own = index
            else:
                self._here[index] = None
            if own is not None:
                self._here[own] = _Waiting(buffer, retained=False)
            self._turn.notify_all()
        self._advance(own)

    def finish(self) -> str:
        for index in range(self._next, self._count):
            self._hash(index, self._here.pop(index, None))
        return f"{SHA256}:{self._sha256.hexdigest()}"

    def close(self) -> None:
        here, self._here = self._here, {}
        for waiting in here.values():
            if waiting is not None:
                waiting.let_go()

    def _advance(self, own: int | None) -> None:
        """Hash what is here, unless another thread does; return when `own` is hashed.

        Nobody is kept long: beyond `own`, it hashes at most `_SHARE` chunks, and the next caller goes on.
        """
        share = _SHARE
        while True:
            with self._turn:
                due = own is not None and self._awaited(own)
                if self._busy or self._next not in self._here or not (due or share):
                    return
                self._busy = True
                index, waiting = self._next, self._here[self._next]
            try:
                self._hash(index, waiting)
            except BaseException:
                with self._turn:
                    if due and own is not None:
                        self._here[own] = None  # its buffer goes back to the caller
                    self._busy = False
                    self._turn.notify_all()
                raise
            with self._turn:
                del self._here[index]
                self._next += 1
                self._busy = False
                self._turn.notify_all()
            share -= not due

    def _awaited(self, own: int) -> bool:
        """Wait until something can be hashed while `own` is not; False once it is, or is left to the disk."""
        while self._next <= own and (self._busy or self._next not in self._here):
            before = self._next
            if not self._turn.wait(_STILL) and before == self._next and not self._busy:
                self._here[own] = None
                return False
        return self._next <= own

    def _hash(self, index: int, waiting: _Waiting | None) -> None:
        if waiting is not None:
            try:
                self._sha256.update(waiting.buffer.view)
            finally:
                waiting.let_go()
            return
        advanced = self._sha256.copy()  # a read that fails half-way leaves no trace
        for piece in self._reread(index):
            advanced.update(piece)
        self._sha256 = advanced
