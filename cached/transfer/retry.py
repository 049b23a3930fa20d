"""Whether and when a chunk is asked for again."""

from __future__ import annotations

import random
from typing import Final

from cached.core.errors import SourceUnavailable

_FIRST: Final = 0.25
_LONGEST: Final = 20.0


class Failed(Exception):
    """One attempt that may go better the next time.

    kind: one of a few words, for metrics. reason: for people. after: seconds that the server asked to be
    left alone, if it did.
    """

    def __init__(self, kind: str, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason
        self.after = after


def backoff(attempt: int, rng: random.Random) -> float:
    """Seconds before attempt `attempt` + 1: exponential, with full jitter."""
    return rng.uniform(0, min(_LONGEST, _FIRST * 2.0 ** min(attempt, 10)))


class Patience:
    """Decides for one fetch when to ask again, and when to give up. Pure; times are monotonic seconds.

    Progress of any chunk is progress of the file.
    """

    def __init__(self, label: str, give_up_after: float, rng: random.Random) -> None:
        self._label = label
        self._give_up_after = give_up_after
        self._rng = rng
        self._progress_at = float("-inf")
        self._stuck_since: float | None = None

    def progress(self, now: float) -> None:
        """A chunk has arrived."""
        self._progress_at = now
        self._stuck_since = None

    def wait(self, failure: Failed, attempt: int, began: float, now: float) -> float:
        """Seconds until the chunk may be asked for again after attempt `attempt`, from 0, which began then.

        Raises SourceUnavailable when that would be too late: its last try comes at the end of the time.
        """
        if self._stuck_since is None:
            self._stuck_since = max(began, self._progress_at)
        left = self._give_up_after - (now - self._stuck_since)
        if failure.after is None and left > 0:
            return min(backoff(attempt, self._rng), left)
        if failure.after is not None and failure.after < left:
            return failure.after
        asked = f", and asks for {failure.after:.0f} s" if failure.after else ""
        raise SourceUnavailable(
            f"{self._label}: no progress for {now - self._stuck_since:.0f} s; last: {failure.reason}{asked}",
            hint="see that the source answers this node; what was verified is kept for the next try",
        )
