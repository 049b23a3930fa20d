"""What an acquire brings back, as plain values."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from google.protobuf.duration_pb2 import Duration

from cached._proto.v1 import cache_pb2 as wire
from cached.client.errors import TimedOut
from cached.core.errors import InvalidRequest
from cached.core.progress import Progress
from cached.core.ref import Ref
from cached.kit.units import show_bytes

if TYPE_CHECKING:
    from cached._proto.v1 import types_pb2 as types
    from cached._proto.v1.operator_pb2 import WarmResponse

OnProgress: TypeAlias = Callable[[Progress], object]


@dataclass(frozen=True, slots=True)
class LeaseGrant:
    """A lease as the daemon granted it: Unix time of its end, and seconds to live."""

    id: str
    expires_at: float
    ttl: float

    @classmethod
    def of(cls, lease: wire.Lease) -> LeaseGrant:
        ends, ttl = lease.expire_time, lease.ttl
        return cls(lease.id, ends.seconds + ends.nanos / 1e9, ttl.seconds + ttl.nanos / 1e9)


@dataclass(frozen=True, slots=True)
class Grant:
    """A complete tree under a lease."""

    path: Path
    tree: str
    size: int
    file_count: int
    stale: bool
    sample_file: str
    lease: LeaseGrant

    @classmethod
    def of(cls, ready: wire.Ready) -> Grant:
        return cls(
            path=Path(ready.path),
            tree=ready.tree,
            size=ready.size_bytes,
            file_count=ready.file_count,
            stale=ready.stale,
            sample_file=ready.sample_file,
            lease=LeaseGrant.of(ready.lease),
        )


def acquire_request(ref: str, ttl: float | None, holder: str) -> wire.AcquireRequest:
    """Raises InvalidRequest for a malformed ref or an impossible time."""
    Ref.parse(ref)
    if ttl is None:
        return wire.AcquireRequest(ref=ref, holder=holder)
    if not 0 < ttl < 1e10:
        raise InvalidRequest(f"a lease cannot last {ttl} seconds", hint="ask for a time above zero")
    whole = math.floor(ttl)
    lasting = Duration(seconds=whole, nanos=int((ttl - whole) * 1e9))
    return wire.AcquireRequest(ref=ref, ttl=lasting, holder=holder)


def same_tree(ref: str, tree: str) -> str:
    """A ref to the tree that `ref` once resolved to. URIs and views cannot say that: compare the answer."""
    parsed = Ref.parse(ref)
    return ref if parsed.uri or parsed.view else str(replace(parsed, revision=tree))


def progress_of(event: wire.AcquireResponse | WarmResponse) -> Progress:
    """Of a resolved or progress event. Resolved tells the size before the first byte has come."""
    if event.WhichOneof("event") == "resolved":
        here = event.resolved.present_bytes
        return Progress(total=event.resolved.size_bytes, done=here, found=here)
    return shown(event.progress)


def shown(said: types.Progress) -> Progress:
    """As it came over the wire."""
    eta = said.eta.seconds + said.eta.nanos / 1e9 if said.HasField("eta") else None
    return Progress(
        total=said.total_bytes,
        done=said.done_bytes,
        found=said.found_bytes,
        from_source=said.source_bytes,
        from_peers=said.peer_bytes,
        rate=said.bytes_per_second,
        eta=eta,
    )


def overdue(ref: str, timeout: float | None, seen: Progress | None = None) -> TimedOut:
    """For an acquire that took longer than its caller would wait."""
    far = f": {show_bytes(seen.done)} of {show_bytes(seen.total)} are here" if seen else ""
    return TimedOut(
        f"{ref} is not ready after {timeout:g} seconds{far}",
        hint="give it more time, or have it warmed beforehand; what has arrived is kept",
    )


def default_holder() -> str:
    """The host's name, which in a pod is the pod's, and the process."""
    return f"{socket.gethostname()}/{os.getpid()}"
