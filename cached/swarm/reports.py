"""What the coordinator is told of, in batches."""

from __future__ import annotations

from typing import Final

from cached.swarm.bits import Bits
from cached.swarm.messages import Ask, Have

_LEAST, _MOST = 0.05, 10.0
_NEVER: Final = float("inf")


class Reports:
    """Chunks that neighbours gave, told at most once every so often, and asks, told when they change.

    Times in seconds.
    """

    def __init__(self) -> None:
        self._news: Bits = 0
        self._every = 0.1
        self._at = 0.0
        self._asked = Ask(0)

    @property
    def due(self) -> float:
        """When `flush` has something to send."""
        return self._at + self._every if self._news else _NEVER

    def begin(self) -> None:
        """A Hello told all that is here, and asked for nothing."""
        self._news = 0
        self._asked = Ask(0)

    def every(self, seconds: float) -> None:
        """How often the coordinator wants to hear."""
        self._every = min(max(seconds, _LEAST), _MOST)

    def added(self, chunk: int) -> None:
        self._news |= 1 << chunk

    def flush(self, now: float) -> Have | None:
        """Everything new, whether it is due or not."""
        if not self._news:
            return None
        news, self._news, self._at = self._news, 0, now
        return Have(news)

    def ask(self, ask: Ask) -> Ask | None:
        """`ask`, unless it stands already."""
        if ask == self._asked:
            return None
        self._asked = ask
        return ask
