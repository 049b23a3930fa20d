"""When to speak of something that changes in bursts."""

from __future__ import annotations

from typing import Final

_PATIENCE: Final = 5


class Rest:
    """Whether a state that is looked at now and then has changed, and come to rest. Pure.

    A burst is told of once, at its end; one that lasts, at every sixth look. What was told of in motion is
    told of again at rest: a directory's time of change, for one, is coarse, and what happens right after a
    look may leave it as it was.
    """

    def __init__(self) -> None:
        self._told: object = self  # equal to no state
        self._seen: object = self
        self._restless = 0

    def look(self, state: object) -> bool:
        """Whether to tell of it now; the first state is told of at rest, like any change."""
        rests, self._seen = state == self._seen, state
        if state == self._told:
            self._restless = 0
            return False
        if not rests and self._restless < _PATIENCE:
            self._restless += 1
            return False
        self._told = state if rests else self
        self._restless = 0
        return True
