"""How many reads of the source at a time are of use."""

from __future__ import annotations

from typing import Final

_FIRST: Final = (
    5.0  # fewer leave even a narrow source idle, since their readers are busy with neighbours, too
)
_WIDER: Final = 1.5
_GAIN: Final = 1.12
_REST: Final = 12  # rounds between two looks at whether more, or fewer, would do


class Width:
    """Finds the fewest concurrent reads that give all the source's throughput. Times in seconds.

    A narrow source shared by many readers delays each chunk, and what comes early can be passed on early;
    a wide one wants many readers. So: widen by half as long as the throughput of a round grows with it,
    else go back. Now and then look again, upward and downward in turn. A round is as many reads as may be
    outstanding; rounds in which fewer were wanted than allowed teach nothing.
    """

    def __init__(self, most: int) -> None:
        self._most = max(most, 1)
        self._limit = min(_FIRST, self._most)
        self._base = 0.0  # throughput before the trial
        self._before = self._limit
        self._trial = 0  # +1: a wider limit is on trial, -1: a narrower one, 0: none
        self._rest = 0
        self._up_next = True
        self._began: float | None = None
        self._done = 0
        self._hungry = True

    @property
    def limit(self) -> int:
        return max(int(self._limit), 1)

    def starved(self) -> None:
        """Fewer reads were wanted than allowed."""
        self._hungry = False

    def halve(self) -> None:
        """The source complained."""
        self._limit = max(self._limit / 2, 1.0)
        self._trial, self._rest, self._began = 0, _REST, None

    def done(self, now: float) -> None:
        """A read ended well."""
        if self._began is None:
            self._begin(now)
            return
        self._done += 1
        if self._done >= max(self.limit, 6) and now > self._began:
            if self._hungry:
                self._judge(self._done / (now - self._began))
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._began, self._done, self._hungry = now, 0, True

    def _judge(self, throughput: float) -> None:
        if self._trial > 0:
            if throughput > _GAIN * self._base:
                self._try(throughput, up=True)
            else:
                self._back()
        elif self._trial < 0:
            if throughput < 0.98 * self._base:
                self._back()
            else:
                self._trial, self._rest = 0, _REST
        elif self._rest:
            self._rest -= 1
        else:
            self._try(throughput, up=self._up_next)
            self._up_next = not self._up_next

    def _try(self, throughput: float, *, up: bool) -> None:
        self._before, self._base = self._limit, throughput
        factor = _WIDER if up else 1 / _WIDER
        self._limit = min(max(self._limit * factor, _FIRST), float(self._most))
        self._trial = 1 if up else -1

    def _back(self) -> None:
        self._limit = self._before
        self._trial, self._rest = 0, _REST
