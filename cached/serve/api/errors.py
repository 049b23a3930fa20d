"""From the core's errors to gRPC statuses: one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

from cached._proto.v1.types_pb2 import ErrorDetail
from cached.core import errors as e
from cached.serve.rpc.refusal import cause_of, clip, masked, row_of

STATUS: Final[Mapping[type[e.CachedError], StatusCode]] = {
    e.InvalidRequest: StatusCode.INVALID_ARGUMENT,
    e.NotFound: StatusCode.NOT_FOUND,
    e.Incompatible: StatusCode.ALREADY_EXISTS,
    e.InUse: StatusCode.FAILED_PRECONDITION,
    e.TooLarge: StatusCode.FAILED_PRECONDITION,
    e.NotConfigured: StatusCode.FAILED_PRECONDITION,
    e.Busy: StatusCode.ABORTED,
    e.NoSpace: StatusCode.RESOURCE_EXHAUSTED,
    e.Unauthenticated: StatusCode.UNAUTHENTICATED,
    e.Denied: StatusCode.PERMISSION_DENIED,
    e.SourceUnavailable: StatusCode.UNAVAILABLE,
    e.SourceChanged: StatusCode.UNAVAILABLE,
    e.RuntimeUnavailable: StatusCode.UNAVAILABLE,
    e.Draining: StatusCode.UNAVAILABLE,
    e.Corrupt: StatusCode.DATA_LOSS,
    e.DiskFault: StatusCode.INTERNAL,
}

# A peer refuses headers beyond 8 KiB. grpc-message is percent-encoded (up to three bytes for one), the
# detail is base64 (four for three): these limits keep the two within 6 KiB.
MAX_STATUS_BYTES: Final = 500
MAX_MESSAGE_BYTES: Final = 2000
MAX_HINT_BYTES: Final = 1000


@dataclass(frozen=True, slots=True)
class Refusal:
    """How one call ends that failed."""

    code: StatusCode
    detail: ErrorDetail

    @property
    def text(self) -> str:
        """For callers that know only gRPC."""
        hint = f" ({self.detail.hint})" if self.detail.hint else ""
        return clip(f"{self.detail.message}{hint}", MAX_STATUS_BYTES)

    @property
    def metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (("cached-error-bin", self.detail.SerializeToString()),)


def refusal(error: Exception, method: str) -> Refusal:
    """Say `error` on the wire. What the house did not raise on purpose is masked, and logged in full."""
    cause = cause_of(error)
    if isinstance(cause, e.CachedError):
        return Refusal(status_of(type(cause)), detail_of(cause))
    bug = ErrorDetail(
        reason="Internal",
        message=masked(error, method),
        hint="look for the reference in the daemon's log, and report what it says",
    )
    return Refusal(StatusCode.INTERNAL, bug)


def status_of(kind: type[e.CachedError]) -> StatusCode:
    """The row of `kind` or of its nearest ancestor."""
    return row_of(STATUS, kind)


def detail_of(error: e.CachedError) -> ErrorDetail:
    """What machines and people get to know of an error."""
    detail = ErrorDetail(
        reason=type(error).__name__,
        message=clip(error.message, MAX_MESSAGE_BYTES),
        hint=clip(error.hint, MAX_HINT_BYTES),
        retryable=error.retryable,
    )
    if isinstance(error, e.NoSpace):
        detail.needed_bytes, detail.free_bytes, detail.held_bytes = error.needed, error.free, error.held
    return detail
