"""From the core's errors to what kubelet understands: one table.

After ABORTED, CANCELLED, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED and UNAVAILABLE kubelet holds a volume for
uncertain: it asks again, and unpublishes it when the pod goes. After any other code it holds it for gone and
forgets it, so nothing may be left of it then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from grpc import StatusCode

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

# It becomes an event of the pod, of which Kubernetes keeps 1024 bytes, and kubelet adds its own words.
MAX_TEXT_BYTES: Final = 700


@dataclass(frozen=True, slots=True)
class Answer:
    """How one call of kubelet's ends that failed."""

    code: StatusCode
    text: str
    metadata: tuple[tuple[str, bytes], ...] = ()


def answer(error: Exception, method: str) -> Answer:
    """Say `error` to kubelet, and so to who looks at the pod. A bug is masked, and logged in full."""
    cause = cause_of(error)
    if isinstance(cause, e.CachedError):
        return Answer(row_of(STATUS, type(cause)), clip(str(cause), MAX_TEXT_BYTES))
    return Answer(StatusCode.INTERNAL, masked(error, method))
