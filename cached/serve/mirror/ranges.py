"""The Range header of a GET, as RFC 9110 has it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_SPEC: Final = re.compile(r"([0-9]*)-([0-9]*)")
_DIGITS: Final = 18  # beyond any blob, and far from where int() takes long


@dataclass(frozen=True, slots=True)
class Span:
    """`length` bytes from `offset` on."""

    offset: int
    length: int


class Unsatisfiable(Exception):
    """Nothing of the blob lies within the range: 416."""


def asked(said: str | None, if_range: str | None, etag: str, size: int) -> Span | None:
    """The one range that is asked for of a blob of `size` bytes, or None: then all of it is to be sent.

    All is sent, too, for several ranges, for what is no range of bytes, for one that holds only of another
    version, and of an empty blob, of which no range could be named. `if_range` is the header of that name;
    no blob has a date here. Raises Unsatisfiable also for a range that ends before it begins.
    """
    if said is None or not size or (if_range is not None and if_range.strip(" \t") != etag):
        return None
    unit, _, listed = said.partition("=")
    specs = [spec for part in listed.split(",") if (spec := part.strip(" \t"))]
    if unit.lower() != "bytes" or len(specs) != 1:
        return None
    found = _SPEC.fullmatch(specs[0])
    if found is None or specs[0] == "-":
        return None
    return _span(found[1], found[2], size)


def _span(first: str, last: str, size: int) -> Span:
    if not first:
        length = min(_number(last), size)
        offset = size - length
    else:
        offset = _number(first)
        length = min(_number(last), size - 1) - offset + 1 if last else size - offset
    if length <= 0:
        raise Unsatisfiable
    return Span(offset, length)


def _number(digits: str) -> int:
    digits = digits.lstrip("0")
    return int(digits or "0") if len(digits) <= _DIGITS else 10**_DIGITS
