"""How a fetch is shown while it lasts: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, TextIO

from cached.cli.figures import describe
from cached.cli.text import plain
from cached.core.progress import Progress

LINE_EVERY = 5.0


class Display(Protocol):
    """Shows several fetches at once, each by its ref."""

    def update(self, ref: str, progress: Progress) -> None:
        """Bytes have arrived."""
        ...

    def tell(self, ref: str, note: str) -> None:
        """Something without bytes goes on."""
        ...

    def finish(self, ref: str, note: str, *, well: bool) -> None:
        """It has ended; `note` says how. Said only of what was shown before: a warm model is no news."""
        ...


class Silence:
    """Shows nothing."""

    def update(self, ref: str, progress: Progress) -> None:
        pass

    def tell(self, ref: str, note: str) -> None:
        pass

    def finish(self, ref: str, note: str, *, well: bool) -> None:
        pass


class Lines:
    """A line when a fetch begins, one every few seconds, and one at its end: for logs."""

    def __init__(self, out: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._monotonic = monotonic
        self._last: dict[str, float] = {}

    def update(self, ref: str, progress: Progress) -> None:
        now = self._monotonic()
        if now - self._last.get(ref, -LINE_EVERY) >= LINE_EVERY:
            self._last[ref] = now
            self._say(ref, describe(progress))

    def tell(self, ref: str, note: str) -> None:
        self._last[ref] = self._monotonic()
        self._say(ref, note)

    def finish(self, ref: str, note: str, *, well: bool) -> None:
        if self._last.pop(ref, None) is not None:
            self._say(ref, note)

    def _say(self, ref: str, text: str) -> None:
        print(f"{plain(ref)} {text}", file=self._out, flush=True)


class OnTerminal:
    """Bars, made when there is something to show: a warm model never waits for their import."""

    def __init__(self) -> None:
        self._bars: Display | None = None
        self._close: Callable[[], None] = lambda: None

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def update(self, ref: str, progress: Progress) -> None:
        self._drawn().update(ref, progress)

    def tell(self, ref: str, note: str) -> None:
        self._drawn().tell(ref, note)

    def finish(self, ref: str, note: str, *, well: bool) -> None:
        if self._bars is not None:
            self._bars.finish(ref, note, well=well)

    def _drawn(self) -> Display:
        if self._bars is None:
            from cached.cli.bars import Bars

            bars = Bars()
            self._bars, self._close = bars, bars.close
        return self._bars


def open_display(quiet: bool) -> AbstractContextManager[Display]:
    """What fits standard error; always left at the end, so that a terminal is as it was."""
    if quiet:
        return nullcontext(Silence())
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return OnTerminal()
    return nullcontext(Lines(sys.stderr))
