"""How a call ends that failed: what every table of errors needs."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from grpc import StatusCode

from cached.core.errors import CachedError

log = logging.getLogger(__name__)


class Refusal(Protocol):
    """A status, its text, and what travels beside it."""

    @property
    def code(self) -> StatusCode: ...

    @property
    def text(self) -> str: ...

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]: ...


Refuse: TypeAlias = Callable[[Exception, str], Refusal]


def row_of(table: Mapping[type[CachedError], StatusCode], kind: type[CachedError]) -> StatusCode:
    """The row of `kind` or of its nearest ancestor."""
    return next((table[base] for base in kind.__mro__ if base in table), StatusCode.INTERNAL)


def cause_of(error: Exception) -> Exception:
    """A TaskGroup wraps the one error that ended it; several at once are nobody's answer."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def masked(error: Exception, method: str) -> str:
    """Log in full what the house did not raise on purpose; returns all that callers get to know of it."""
    reference = secrets.token_hex(4)
    log.error("a call failed on a bug", exc_info=error, extra={"method": method, "reference": reference})
    return f"internal error, reference {reference}"


def clip(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"
