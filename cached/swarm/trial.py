"""Whether the source would be quicker than the neighbours."""

from __future__ import annotations

from typing import Final

_WINDOW: Final = 2.0  # least seconds over which a rate is taken
_GAIN: Final = 1.3
_FIRST, _LONGEST = 10.0, 120.0


class Trial:
    """Finds out by trying, since nobody can tell beforehand. Times in seconds.

    Neighbours that give each chunk slowly may all be slow, or this node's own link may be. So when they look
    slow, some chunks are wanted from the source, too (`wanted`); if more comes then in all, it is `proven`
    that the source is of use for as long as the neighbours stay slow. If not, the next trial is 10 s later,
    then twice as long each time, up to two minutes.
    """

    def __init__(self) -> None:
        self.wanted = False
        self.proven = False
        self._window_at = 0.0
        self._received = 0
        self._base: float | None = None
        self._next = 0.0
        self._wait = _FIRST

    def look(self, now: float, received: int, usual: float | None, slow: float) -> None:
        """Some time passed: `received` chunks have come in all, each takes `usual`, `slow` is too long."""
        if usual is None or usual <= slow:
            self.wanted = self.proven = False
            self._base = None
            self._begin(now, received)
            return
        if self.proven or now < self._window_at + max(_WINDOW, 2 * usual):
            return
        rate = (received - self._received) / (now - self._window_at)
        if self.wanted:
            assert self._base is not None
            self.proven = rate > _GAIN * self._base
            if not self.proven:
                self.wanted = False
                self._next = now + self._wait
                self._wait = min(2 * self._wait, _LONGEST)
        elif now >= self._next:
            self.wanted = True
            self._base = rate
        self._begin(now, received)

    def _begin(self, now: float, received: int) -> None:
        self._window_at, self._received = now, received
