"""A report for people who were woken: a line for each check, then what is wrong and what to do."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import click

from cached.cli.doctor.check import Examined
from cached.cli.finding import Finding, Level, worst
from cached.cli.text import plain

_COLOURS: Final[dict[Level, str]] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "cyan"}
_WIDTH: Final = len("problem")
_NAME: Final = len("certificates")


def lines(examined: Examined) -> Iterator[str]:
    """Of one check, without colours: the level comes first, and what is beneath is indented."""
    level = worst(examined.findings)
    bad = [each for each in examined.findings if each.level in ("warning", "problem")]
    yield f"{level:<{_WIDTH}}  {examined.name:<{_NAME}}  {_summary(examined.findings, bad)}".rstrip()
    for finding in bad:
        yield f"{'':<{_WIDTH}}  {plain(finding.message)}"
        if finding.hint:
            yield f"{'':<{_WIDTH}}    {plain(finding.hint)}"


def _summary(findings: Iterable[Finding], bad: list[Finding]) -> str:
    """What is well, or why nothing was looked at; nothing where it follows in full."""
    if bad:
        return ""
    told = [each for each in findings if each.level == "ok"] or list(findings)
    first = plain(told[0].message) if told else ""
    return f"{first} (and {len(told) - 1} more)" if len(told) > 1 else first


def verdict(examined: Iterable[Examined]) -> str:
    """The last line."""
    found = Counter(finding.level for each in examined for finding in each.findings)
    counts = [(found["problem"], "problem"), (found["warning"], "warning")]
    return ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count) or "all is well"


def show(line: str) -> None:
    """Print a line now, its level in colour on a terminal that wants any."""
    word = line[:_WIDTH].strip()
    if word in _COLOURS and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        line = click.style(word, fg=_COLOURS[word], bold=word != "ok") + line[len(word) :]
    click.echo(line)
