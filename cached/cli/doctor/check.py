"""One thing to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cached.cli.finding import Finding

if TYPE_CHECKING:
    from cached.cli.doctor.scene import Scene


class Skipped(Exception):
    """There is nothing to look at here, or it cannot be seen from here; the text says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """name: in the report. look: tells findings as it makes them.

    It may raise Skipped, PermissionError for what only root may see, and a CachedError or another OSError for
    what is wrong by itself. seconds: after which it is given up. silence: what is likely then, and what to
    do.
    """

    name: str
    look: Callable[[Scene], Iterator[Finding]]
    seconds: float = 10.0
    silence: tuple[str, str] = ("", "try again; see the daemon's log")


@dataclass(frozen=True, slots=True)
class Examined:
    """What came of a check."""

    name: str
    findings: tuple[Finding, ...]
