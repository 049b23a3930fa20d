"""TOML as far as it is read and written here."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from cached.core.errors import InvalidRequest

_FAULTS = (tomllib.TOMLDecodeError, RecursionError)


def parse(text: str, where: str) -> dict[str, Any]:
    """Raises InvalidRequest that names `where`, with line and column."""
    try:
        return tomllib.loads(text)
    except _FAULTS as error:
        raise InvalidRequest(f"{where} is not valid TOML: {error}", hint="mend it by hand") from None


def quoted(value: object) -> str:
    """A text, or a list of such values, as TOML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(quoted, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def table(value: object, *keys: str) -> Mapping[str, Any]:
    """The table below `keys`; empty where there is none, or something else."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def inserted(text: str, passage: str, expected: Mapping[str, Any]) -> Iterator[str]:
    """Every way of putting `passage` into `text` such that it reads as `expected`, the earliest place first.

    A line that looks like a table's head may lie in a text or a list: so each is tried, and read.
    """
    lines = [line for line in re.split(r"(?<=\n)", text) if line]
    for index in _places(lines):
        before, after = "".join(lines[:index]), "".join(lines[index:])
        if before and not before.endswith("\n"):
            before += "\n"
        result = before + passage + after
        try:
            found = tomllib.loads(result)
        except _FAULTS:
            continue
        if found == expected:
            yield result


def _places(lines: list[str]) -> Iterator[int]:
    """Before each line that looks like a table's head, or above the comment on it; at last the end."""
    for index, line in enumerate(lines):
        if line.lstrip().startswith("["):
            above = index
            while above and lines[above - 1].lstrip().startswith("#"):
                above -= 1
            yield from sorted({above, index})
    yield len(lines)
