"""From what ends a member's stream to gRPC statuses: one table."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

from cached.core.errors import Busy, CachedError, Denied, Draining
from cached.peers.outbox import TooSlow
from cached.peers.wire import Malformed
from cached.serve.peer.control.stream import Replaced

log = logging.getLogger(__name__)

# The status, and the reason that `cached_peer_refused_requests` counts it under.
_TABLE: Final[Mapping[type[Exception], tuple[StatusCode, str]]] = {
    Malformed: (StatusCode.INVALID_ARGUMENT, "malformed"),
    Denied: (StatusCode.PERMISSION_DENIED, "identity"),
    Busy: (StatusCode.RESOURCE_EXHAUSTED, "full"),
    Draining: (StatusCode.UNAVAILABLE, ""),
    TooSlow: (StatusCode.RESOURCE_EXHAUSTED, ""),
    TimeoutError: (StatusCode.DEADLINE_EXCEEDED, ""),
    Replaced: (StatusCode.ABORTED, ""),
}

_MOST: Final = 500  # characters: headers beyond 8 KiB would be refused


class Turned(Exception):
    """A stream that has no business here, and the status that says so."""

    def __init__(self, code: StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Refusal:
    """How one stream ends. reason: as the metric has it, empty when it is not counted there."""

    code: StatusCode
    text: str
    reason: str = ""


def refusal(error: Exception, method: str) -> Refusal:
    """What the other end gets to know of `error`. A bug is masked, and logged in full."""
    if isinstance(error, Turned):
        return Refusal(error.code, str(error)[:_MOST])
    for kind, (code, reason) in _TABLE.items():
        if isinstance(error, kind):
            return Refusal(code, str(error)[:_MOST] or kind.__name__, reason)
    if isinstance(error, CachedError):
        return Refusal(StatusCode.FAILED_PRECONDITION, str(error)[:_MOST])
    reference = secrets.token_hex(4)
    log.error("a stream failed on a bug", exc_info=error, extra={"method": method, "reference": reference})
    return Refusal(StatusCode.INTERNAL, f"internal error, reference {reference}")
