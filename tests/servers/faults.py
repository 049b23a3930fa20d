"""What a faulty server is told to do wrong, and what it remembers of the requests that it saw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing to do wrong, to the requests that it matches. Offsets count bytes of the answer's body.

    path: a glob on the decoded path, `*` crosses `/`. method: or "" for any. covering: only ranges that
    hold this byte of the file. skip: leave that many matching requests alone first. times: then spoil
    that many, None for all that come.
    """

    path: str = "*"
    method: str = "GET"
    covering: int | None = None
    skip: int = 0
    times: int | None = 1

    before: Callable[[], object] | None = None
    """Run this first; an exception in it becomes a 500."""
    hang_up: bool = False
    """Close the connection without an answer."""
    status: int = 0
    """Answer this, with `headers` and no body, without asking the upstream."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of the answer to set or replace."""
    forget: frozenset[str] = frozenset()
    """Headers of the request, in lower case, to act as if they had not been sent: range, if-match."""
    flip: int | None = None
    """Send this byte of the body wrong."""
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    stall: int | None = None
    """Say nothing for `pause` seconds after this many bytes of the body, then go on."""
    pause: float = 3600.0
    rate: float | None = None
    """Drip the body at this many bytes per second."""


@dataclass(slots=True)
class Seen:
    """One request as it came, and what it was answered; `sent` counts bytes of body that went out."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last byte asked for by a plain Range header; None for all of the file."""
        unit, _, spec = self.headers.get("range", "").partition("=")
        first, _, last = spec.partition("-")
        return (int(first), int(last)) if unit == "bytes" and first.isdigit() and last.isdigit() else None


def matches(fault: Fault, seen: Seen) -> bool:
    """Whether `fault` concerns this request, its counts aside."""
    if fault.method not in ("", seen.method) or not fnmatchcase(seen.path, fault.path):
        return False
    if fault.covering is None:
        return True
    return seen.span is not None and seen.span[0] <= fault.covering <= seen.span[1]
