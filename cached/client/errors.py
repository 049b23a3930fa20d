"""What goes wrong between a client and its daemon, and the daemon's own errors as they were raised there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from google.protobuf.message import DecodeError
from grpc import StatusCode

from cached._proto.v1.types_pb2 import ErrorDetail
from cached.core import errors as e


class Unreachable(e.CachedError):
    """No daemon listens, or it went away in the middle of a call and did not come back in time."""

    retryable = True


class TimedOut(e.CachedError):
    """The time that the caller gave is over."""

    retryable = True


class Cancelled(e.CachedError):
    """The call was ended from this side: another thread or task closed the client."""


class NotVisible(e.CachedError):
    """The daemon has the model, but its path is not what this process sees there."""


class DaemonFault(e.CachedError):
    """The daemon failed on a bug of its own, or broke the protocol."""


# Pairs of key and value; the stubs of grpc have a type of their own for them in each place.
Metadata: TypeAlias = Iterable[Any]

DETAIL_KEY: Final = "cached-error-bin"

_BY_REASON: Final[Mapping[str, type[e.CachedError]]] = {
    kind.__name__: kind
    for kind in vars(e).values()
    if isinstance(kind, type) and issubclass(kind, e.CachedError) and kind not in (e.CachedError, e.NoSpace)
}

# For daemons that know reasons which we do not, and for errors that grpc itself makes.
_BY_CODE: Final[Mapping[StatusCode, type[e.CachedError]]] = {
    StatusCode.INVALID_ARGUMENT: e.InvalidRequest,
    StatusCode.NOT_FOUND: e.NotFound,
    StatusCode.ALREADY_EXISTS: e.Incompatible,
    StatusCode.FAILED_PRECONDITION: e.NotConfigured,
    StatusCode.ABORTED: e.Busy,
    StatusCode.RESOURCE_EXHAUSTED: e.Busy,
    StatusCode.UNAUTHENTICATED: e.Unauthenticated,
    StatusCode.PERMISSION_DENIED: e.Denied,
    StatusCode.UNAVAILABLE: e.SourceUnavailable,
    StatusCode.DATA_LOSS: e.Corrupt,
    StatusCode.DEADLINE_EXCEEDED: TimedOut,
    StatusCode.CANCELLED: Cancelled,
}


def rebuild(code: StatusCode, text: str, trailing: Metadata | None) -> e.CachedError:
    """The error of a call that ended with `code`: the daemon's own class where it named one.

    UNAVAILABLE without a word of the daemon is Unreachable: nobody was there to say it.
    """
    detail = _detail(trailing)
    if detail is None:
        return _without_detail(code, text)
    if detail.reason == e.NoSpace.__name__:
        return e.NoSpace(
            detail.message,
            needed=detail.needed_bytes,
            free=detail.free_bytes,
            held=detail.held_bytes,
            hint=detail.hint,
        )
    kind = _BY_REASON.get(detail.reason) or _BY_CODE.get(code, DaemonFault)
    return kind(detail.message, hint=detail.hint)


def _without_detail(code: StatusCode, text: str) -> e.CachedError:
    match code:
        case StatusCode.UNAVAILABLE:
            return Unreachable(text or "the connection to the daemon broke")
        case StatusCode.UNIMPLEMENTED:
            return e.Denied(
                "the daemon does not offer this at this socket",
                hint="use the operators' socket: the pods' one only acquires and describes; "
                "or this daemon is older than the client",
            )
        case StatusCode.DEADLINE_EXCEEDED:
            return TimedOut("the daemon did not answer in the time given", hint="give it more time")
        case StatusCode.CANCELLED:
            return Cancelled("the call was cancelled")
    return _BY_CODE.get(code, DaemonFault)(text or code.name)


def _detail(trailing: Metadata | None) -> ErrorDetail | None:
    for key, value in trailing or ():
        if key == DETAIL_KEY and isinstance(value, bytes):
            try:
                return ErrorDetail.FromString(value)
            except DecodeError:
                return None
    return None
