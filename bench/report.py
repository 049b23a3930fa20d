"""Raw data, tables, and what was wanted beside what was measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import machine


@dataclass(frozen=True, slots=True)
class Wanted:
    """One figure: what it is, what it should be, what it was, in words for people."""

    what: str
    wanted: str
    measured: str


class Report:
    """One part of a run, as files `<date>-<part>.json`, `.md` and `.svg` in `directory`, which is there."""

    def __init__(self, part: str, directory: Path, work: Path) -> None:
        self.part = part
        self._directory = directory
        self._date = datetime.now(UTC).date().isoformat()
        self._machine = machine.describe(work)
        self._versions = machine.versions()

    def path(self, suffix: str) -> Path:
        return self._directory / f"{self._date}-{self.part}{suffix}"

    def write(
        self, options: Mapping[str, Any], data: Any, tables: Sequence[str], figures: Sequence[Wanted]
    ) -> str:
        """Write raw data and tables; returns the text of the tables."""
        raw = {
            "date": self._date,
            "part": self.part,
            "machine": self._machine,
            "versions": self._versions,
            "options": options,
            "data": data,
        }
        self.path(".json").write_text(json.dumps(raw) + "\n")
        about = "; ".join(_words(each) for each in (self._machine, self._versions))
        text = "\n\n".join(
            [
                f"# {self.part.capitalize()}, {self._date}",
                f"{about}.\n\nMeasured with {_words(options)}.",
                *tables,
                wanted_table(figures),
                f"![plot]({self.path('.svg').name})",
            ]
        )
        self.path(".md").write_text(text + "\n")
        return text


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown, the columns padded so that it can be read as text, too."""
    whole = [list(head), *map(list, rows)]
    widths = [max(len(row[column]) for row in whole) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in whole
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def wanted_table(figures: Sequence[Wanted]) -> str:
    return table(
        ("figure", "wanted", "measured"), [(each.what, each.wanted, each.measured) for each in figures]
    )


def _words(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in about.items())
