"""From the engine's views to the messages of the API."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from cached._proto.v1 import cache_pb2 as cache
from cached._proto.v1 import operator_pb2 as operator
from cached._proto.v1 import types_pb2 as types
from cached.core.errors import CachedError
from cached.core.progress import Progress
from cached.engine import views
from cached.serve.api.errors import detail_of
from cached.swarm.messages import Survey

STATES: Final = {
    views.State.COLD: types.ARTIFACT_STATE_COLD,
    views.State.FETCHING: types.ARTIFACT_STATE_FETCHING,
    views.State.WARM: types.ARTIFACT_STATE_WARM,
    views.State.FAILED: types.ARTIFACT_STATE_FAILED,
}
PEER_STATES: Final = {
    views.PeerState.OK: operator.PEER_STATE_OK,
    views.PeerState.ASIDE: operator.PEER_STATE_ASIDE,
    views.PeerState.BANNED: operator.PEER_STATE_BANNED,
}
GATE_STATES: Final = {
    views.GateState.CLOSED: operator.GATE_STATE_CLOSED,
    views.GateState.OPEN_WARM: operator.GATE_STATE_OPEN_WARM,
    views.GateState.OPEN_DEADLINE: operator.GATE_STATE_OPEN_DEADLINE,
}


def timestamp(unix: float | None) -> Timestamp | None:
    """Unix time in seconds; None stays unset on the wire."""
    if unix is None:
        return None
    seconds = math.floor(unix)
    return Timestamp(seconds=seconds, nanos=int((unix - seconds) * 1e9))


def duration(seconds: float | None) -> Duration | None:
    """None stays unset on the wire, and so does a time that no Duration can tell."""
    if seconds is None or not 0 <= seconds < 3e11:
        return None
    whole = int(seconds)
    return Duration(seconds=whole, nanos=int((seconds - whole) * 1e9))


def acquire_response(event: views.AcquireEvent) -> cache.AcquireResponse:
    match event:
        case views.Ready():
            return cache.AcquireResponse(ready=ready(event))
        case views.Resolved():
            return cache.AcquireResponse(resolved=resolved(event))
        case Progress():
            return cache.AcquireResponse(progress=progress(event))


def ready(view: views.Ready) -> cache.Ready:
    return cache.Ready(
        path=str(view.path),
        tree=view.tree,
        lease=lease(view.lease),
        size_bytes=view.size,
        file_count=view.file_count,
        stale=view.stale,
        sample_file=view.sample_file,
    )


def resolved(view: views.Resolved) -> types.Resolved:
    return types.Resolved(
        ref=view.ref,
        tree=view.tree,
        size_bytes=view.size,
        file_count=view.file_count,
        present_bytes=view.present,
        stale=view.stale,
    )


def progress(value: Progress) -> types.Progress:
    return types.Progress(
        total_bytes=value.total,
        done_bytes=value.done,
        found_bytes=value.found,
        source_bytes=value.from_source,
        peer_bytes=value.from_peers,
        bytes_per_second=value.rate,
        eta=duration(value.eta),
    )


def lease(view: views.LeaseView) -> cache.Lease:
    return cache.Lease(id=view.id, expire_time=timestamp(view.expires_at), ttl=duration(view.ttl))


def artifact(view: views.ArtifactView, *, show_source: bool) -> types.Artifact:
    return types.Artifact(
        ref=view.ref,
        source=view.source if show_source else "",
        state=STATES[view.state],
        tree=view.tree or "",
        path=str(view.path) if view.path else "",
        size_bytes=view.size,
        file_count=view.file_count,
        progress=progress(view.progress) if view.progress else None,
        pinned=view.pinned,
        lease_count=view.lease_count,
        last_use_time=timestamp(view.last_use),
        last_error=view.last_error,
        in_catalog=view.in_catalog,
        in_runtime=view.in_runtime,
    )


def describe_response(view: views.DescribeView, *, for_operators: bool) -> cache.DescribeResponse:
    """Leases are sorted here, soonest to expire first; their ids are not told."""
    return cache.DescribeResponse(
        artifact=artifact(view.artifact, show_source=for_operators),
        files=[
            cache.File(path=f.file.path, size_bytes=f.file.size, blob=f.file.blob, present=f.present)
            for f in view.files
        ],
        leases=[
            cache.LeaseInfo(holder=held.holder, expire_time=timestamp(held.expires_at))
            for held in sorted(view.leases, key=lambda held: held.expires_at)
        ],
        include=view.include,
        exclude=view.exclude,
        swarm=swarm(view.swarm) if view.swarm and for_operators else None,
    )


def swarm(view: views.SwarmView) -> cache.Swarm:
    return cache.Swarm(
        coordinator=view.coordinator,
        chunk_count=view.chunks,
        have_count=view.have,
        neighbours=[
            cache.SwarmNeighbour(member=member, have_count=have) for member, have in sorted(view.neighbours)
        ],
        totals=None if view.survey is None else totals(view.survey),
    )


def totals(survey: Survey) -> cache.SwarmTotals:
    return cache.SwarmTotals(
        member_count=survey.members,
        complete_count=survey.complete,
        held_count=survey.held,
        granted_count=survey.granted,
        read_count=survey.reads,
        holders=survey.holders,
    )


def warm_response(ref: str, event: views.WarmEvent) -> operator.WarmResponse:
    match event:
        case views.Accepted():
            return operator.WarmResponse(ref=ref, accepted=operator.WarmResponse.Accepted())
        case views.Resolved():
            return operator.WarmResponse(ref=ref, resolved=resolved(event))
        case Progress():
            return operator.WarmResponse(ref=ref, progress=progress(event))
        case views.Unpacking():
            return operator.WarmResponse(ref=ref, unpacking=operator.WarmResponse.Unpacking())
        case views.Warmed():
            warmed = operator.WarmResponse.Warmed(
                path=str(event.path) if event.path else "",
                tree=event.tree,
                size_bytes=event.size,
                fetched_bytes=event.fetched,
            )
            return operator.WarmResponse(ref=ref, warmed=warmed)
        case CachedError():
            return operator.WarmResponse(ref=ref, failed=detail_of(event))


def status_response(view: views.StatusView) -> operator.StatusResponse:
    return operator.StatusResponse(
        version=view.version,
        start_time=timestamp(view.started_at),
        root=str(view.root),
        draining=view.draining,
        space=operator.Space(
            capacity_bytes=view.space.capacity,
            used_bytes=view.space.used,
            reserved_bytes=view.space.reserved,
            held_bytes=view.space.held,
            filesystem_free_bytes=view.space.filesystem_free,
            min_free_bytes=view.space.min_free,
        ),
        flight_count=view.flight_count,
        lease_count=view.lease_count,
        blob_count=view.blob_count,
        tree_count=view.tree_count,
        catalog=operator.CatalogStatus(
            path=view.catalog.path,
            model_count=view.catalog.model_count,
            load_time=timestamp(view.catalog.loaded_at),
            error=view.catalog.error,
        ),
        scrub=operator.ScrubStatus(
            blob_count=view.scrub.blob_count,
            corrupt_count=view.scrub.corrupt_count,
            last_round_time=timestamp(view.scrub.last_round),
        ),
        warnings=view.warnings,
    )


def check_sources_response(found: Iterable[views.SourceView]) -> operator.CheckSourcesResponse:
    """Sorted here, by URI."""
    return operator.CheckSourcesResponse(
        sources=[
            operator.SourceCheck(
                source=each.uri, refs=each.refs, error=detail_of(each.error) if each.error else None
            )
            for each in sorted(found, key=lambda each: each.uri)
        ]
    )


def verify_response(event: views.VerifyEvent) -> operator.VerifyResponse:
    return operator.VerifyResponse(
        done_bytes=event.done,
        total_bytes=event.total,
        corrupt=[operator.CorruptBlob(blob=found.blob, refs=found.refs) for found in event.corrupt],
        finished=event.finished,
    )


def list_peers_response(view: views.PeersView) -> operator.ListPeersResponse:
    """Sorted here, by address."""
    return operator.ListPeersResponse(
        address=view.address,
        data_address=view.data_address,
        zone=view.zone,
        encrypted=view.encrypted,
        membership=view.source,
        peers=[
            operator.Peer(
                address=each.address,
                zone=each.zone,
                state=PEER_STATES[each.state],
                usable_in=duration(each.until or None),
                received_bytes=each.received,
                sent_bytes=each.sent,
                failure_count=each.failures,
            )
            for each in sorted(view.peers, key=lambda each: each.address)
        ],
    )


def readiness_response(view: views.ReadinessView) -> operator.ReadinessResponse:
    """Sorted here, by ref."""
    return operator.ReadinessResponse(
        ready=view.ready,
        serving=view.serving,
        wanted_count=view.wanted,
        missing=[
            artifact(each, show_source=True) for each in sorted(view.missing, key=lambda each: each.ref)
        ],
        gate=gate(view.gate) if view.gate else None,
    )


def gate(view: views.GateView) -> operator.Gate:
    return operator.Gate(
        node=view.node, state=GATE_STATES[view.state], opens_in=duration(view.opens_in), trouble=view.trouble
    )
