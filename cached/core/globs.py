"""Which paths a glob takes."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def glob_takes(pattern: str, path: str) -> bool:
    """Whether `pattern` takes `path`; see `cached.core.source.Selection` for the rules.

    Time grows with the length of the path times that of the pattern, whoever wrote them.
    """
    names = path.split("/")
    if "/" not in pattern:
        return fnmatchcase(names[-1], pattern)
    wanted = pattern.removeprefix("/").split("/")
    if wanted[-1] in ("", "**"):
        wanted[-1:] = ["**", "*"]
    places = _reach({0}, wanted)
    for name in names:
        places = _reach(
            {
                place if wanted[place] == "**" else place + 1
                for place in places
                if place < len(wanted) and (wanted[place] == "**" or fnmatchcase(name, wanted[place]))
            },
            wanted,
        )
    return len(wanted) in places


def _reach(places: Iterable[int], wanted: list[str]) -> set[int]:
    """Places in `wanted` and those behind the `**` that they stand at, since it may take no directory."""
    reached = set()
    for place in places:
        reached.add(place)
        while place < len(wanted) and wanted[place] == "**":
            place += 1
            reached.add(place)
    return reached
