"""Words and columns for people."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    """`text` without control characters: a lease's holder or a file's name must not drive a terminal."""
    return "".join("?" if unicodedata.category(c) in ("Cc", "Cf") else c for c in text)


def columns(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Rows with aligned columns, two spaces apart; an empty cell reads `-`."""
    cells = [[plain(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def coarse(seconds: float) -> str:
    """`42s`, `3m`, `5h`, `12d`: one unit is enough for an age."""
    whole = max(0, int(seconds))
    for unit, size, limit in (("s", 1, 60), ("m", 60, 3600), ("h", 3600, 2 * 86400)):
        if whole < limit:
            return f"{whole // size}{unit}"
    return f"{whole // 86400}d"
