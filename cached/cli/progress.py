"""How a fetch is shown while it lasts: bars on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Protocol, TextIO

from cached.cli.text import plain
from cached.core.progress import Progress
from cached.kit.units import show_bytes, show_seconds

LINE_EVERY = 5.0


class Display(Protocol):
    """Shows several fetches at once, each by its ref."""

    def update(self, ref: str, progress: Progress) -> None:
        """Bytes have arrived."""
        ...

    def finish(self, ref: str, note: str) -> None:
        """It has ended; `note` says how. Said only of what was shown before: a warm model is no news."""
        ...


class Silence:
    """Shows nothing."""

    def update(self, ref: str, progress: Progress) -> None:
        pass

    def finish(self, ref: str, note: str) -> None:
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

    def finish(self, ref: str, note: str) -> None:
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
        if self._bars is None:
            from cached.cli.bars import Bars

            bars = Bars()
            self._bars, self._close = bars, bars.close
        self._bars.update(ref, progress)

    def finish(self, ref: str, note: str) -> None:
        if self._bars is not None:
            self._bars.finish(ref, note)


def open_display(quiet: bool) -> AbstractContextManager[Display]:
    """What fits standard error; always left at the end, so that a terminal is as it was."""
    if quiet:
        return nullcontext(Silence())
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return OnTerminal()
    return nullcontext(Lines(sys.stderr))


def describe(progress: Progress) -> str:
    """`45% 41.2 MiB of 90.9 MiB 120 MiB/s ETA 3s`, and which part came from peers."""
    words = [
        f"{percent(progress)}%",
        f"{show_bytes(progress.done)} of {show_bytes(progress.total)}",
        speed(progress),
        origins(progress),
    ]
    return " ".join(word for word in words if word)


def percent(progress: Progress) -> int:
    """Whole per cent, rounded down: 100 means all."""
    return 100 * progress.done // progress.total if progress.total else 100


def speed(progress: Progress) -> str:
    """Bytes per second and the time left, as far as they are known."""
    words = [f"{show_bytes(progress.rate)}/s"] if progress.rate else []
    if progress.eta is not None:
        words.append(f"ETA {show_seconds(progress.eta)}")
    return " ".join(words)


def origins(progress: Progress) -> str:
    """Which part came from peers, the rest from the source; empty when all did, as on a lone node."""
    if not progress.from_peers:
        return ""
    return f"({100 * progress.from_peers // (progress.from_source + progress.from_peers)}% from peers)"
