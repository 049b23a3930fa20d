"""What the wire lets through and the engine should never see."""

from __future__ import annotations

from typing import Final

from google.protobuf.duration_pb2 import Duration

from cached._proto.v1.cache_pb2 import AcquireRequest, ReleaseRequest, RenewRequest
from cached._proto.v1.operator_pb2 import WarmRequest
from cached.core.errors import InvalidRequest
from cached.core.image import is_image
from cached.engine.publish.volume import HOLDER

MAX_HOLDER_BYTES: Final = 256
MAX_REFS: Final = 10_000


def checked_ttl(request: AcquireRequest | RenewRequest) -> float | None:
    """Seconds asked for, or None when unset. Raises InvalidRequest unless above zero."""
    if not request.HasField("ttl"):
        return None
    ttl: Duration = request.ttl
    seconds = ttl.seconds + ttl.nanos / 1e9
    if not 0 <= ttl.nanos < 1_000_000_000 or seconds <= 0:
        raise InvalidRequest(
            f"a lease cannot last {seconds:g} seconds",
            hint="ask for a time above zero, or leave ttl out for the daemon's own",
        )
    return seconds


def checked_holder(holder: str) -> str:
    """Raises InvalidRequest for a holder that is too long, or that would spoil a terminal or a log."""
    if len(holder.encode()) > MAX_HOLDER_BYTES or not holder.isprintable():
        raise InvalidRequest(
            f"not a holder's name: {holder[:100]!r}",
            hint=f"use at most {MAX_HOLDER_BYTES} bytes, without control characters; a pod's name, say",
        )
    if holder.startswith(HOLDER):
        raise InvalidRequest(
            f"a holder's name does not begin with {HOLDER}", hint="volumes of pods are called so; use another"
        )
    return holder


def checked_lease_id(request: RenewRequest | ReleaseRequest) -> str:
    """Raises InvalidRequest when no lease is named."""
    if not request.lease_id:
        raise InvalidRequest("no lease is named", hint="send the id that came with ready")
    return request.lease_id


def checked_refs(request: WarmRequest) -> list[str]:
    """Raises InvalidRequest unless it names either some refs or all, and an image if any is to be pulled."""
    if bool(request.refs) == request.all:
        raise InvalidRequest(
            "both refs and all are given" if request.all else "no ref is given",
            hint="name the models to warm, or ask for all of the catalog",
        )
    if len(request.refs) > MAX_REFS:
        raise InvalidRequest(
            f"{len(request.refs)} refs in one call", hint=f"send at most {MAX_REFS} at a time"
        )
    if request.pull and not request.all and not any(is_image(ref) for ref in request.refs):
        raise InvalidRequest(
            "pull is asked for, but no image is among the refs",
            hint="the container runtime unpacks images only: name one as oci://host/name:tag",
        )
    return list(request.refs)
