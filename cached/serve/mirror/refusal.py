"""How the mirror says no: statuses, codes and bodies, and one table from the core's errors to them."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping
from typing import Final

from cached.core import errors as e

log = logging.getLogger(__name__)

MISSING: Final = ""
"""In the table: the code that says what kind of thing is not there."""

# A runtime goes on to the registry itself after any of these, but it asks again after 408 and 429, asks
# twice before 403, and says in the end what the first host said that was no 404. So whatever goes wrong
# here is a 404, and only what the registry would say, too, is something else.
STATUS: Final[Mapping[type[e.CachedError], tuple[int, str]]] = {
    e.InvalidRequest: (400, "NAME_INVALID"),
    e.NotFound: (404, MISSING),
    e.Incompatible: (404, "UNAVAILABLE"),
    e.InUse: (404, "UNAVAILABLE"),
    e.TooLarge: (404, "UNAVAILABLE"),
    e.NotConfigured: (404, "UNAVAILABLE"),
    e.Busy: (404, "UNAVAILABLE"),
    e.NoSpace: (404, "UNAVAILABLE"),
    e.Unauthenticated: (401, "UNAUTHORIZED"),
    e.Denied: (404, "DENIED"),
    e.SourceUnavailable: (404, "UNAVAILABLE"),
    e.SourceChanged: (404, "UNAVAILABLE"),
    e.RuntimeUnavailable: (404, "UNAVAILABLE"),
    e.Draining: (404, "UNAVAILABLE"),
    e.Corrupt: (404, "UNAVAILABLE"),
    e.DiskFault: (404, "UNAVAILABLE"),
}
_MOST_TEXT: Final = 1000  # characters


class Refusal(Exception):
    """An answer that gives nothing: its status, OCI's code for it, and what it says."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def body(self) -> bytes:
        said = {"code": self.code, "message": self.message[:_MOST_TEXT]}
        return json.dumps({"errors": [said]}).encode()


def refusal(error: Exception, missing: str) -> Refusal:
    """Say `error` to a puller. What the house did not raise on purpose is masked, and logged in full.

    missing: the code for what is not there.
    """
    if isinstance(error, Refusal):
        return error
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    if isinstance(error, e.Unauthenticated) and not error.challenge:
        return Refusal(404, "DENIED", str(error))  # a 401 says how to do better
    if isinstance(error, e.CachedError):
        status, code = status_of(type(error))
        headers = {"WWW-Authenticate": error.challenge} if isinstance(error, e.Unauthenticated) else None
        return Refusal(status, code or missing, str(error), headers)
    reference = secrets.token_hex(4)
    log.error("a request of a puller failed on a bug", exc_info=error, extra={"reference": reference})
    return Refusal(404, "UNKNOWN", f"internal error, reference {reference}")


def status_of(kind: type[e.CachedError]) -> tuple[int, str]:
    """The row of `kind` or of its nearest ancestor."""
    return next((STATUS[base] for base in kind.__mro__ if base in STATUS), (404, "UNAVAILABLE"))
