"""What a look at this node found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Level = Literal["ok", "skipped", "warning", "problem"]

_GRAVITY: Final[tuple[Level, ...]] = ("ok", "skipped", "warning", "problem")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing. subject: a program, a file, a registry, whatever was looked at. hint: what to do about it.

    skipped: it was not looked at; the message says why.
    """

    level: Level
    subject: str
    message: str
    hint: str = ""


def worst(findings: Iterable[Finding]) -> Level:
    """The gravest level among them; `skipped` only where nothing was looked at, and `ok` without any."""
    levels = {finding.level for finding in findings}
    if "ok" in levels:
        levels.discard("skipped")
    return max(levels, key=_GRAVITY.index, default="ok")
