"""Answers as people read them: sizes and ages rounded, columns aligned. Programs take JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cached.cli.text import coarse, columns, plain
from cached.core.errors import InvalidRequest
from cached.core.image import ImageRef, is_image
from cached.kit.units import show_bytes

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from cached._proto.v1.cache_pb2 import DescribeResponse, Swarm
    from cached._proto.v1.operator_pb2 import (
        CatalogStatus,
        Gate,
        ListPeersResponse,
        Peer,
        ReadinessResponse,
        ScrubStatus,
        StatusResponse,
    )
    from cached._proto.v1.types_pb2 import Artifact


def models(artifacts: Iterable[Artifact], now: float) -> str:
    """A row for each model."""
    rows = [
        (
            each.ref,
            _state(each),
            show_bytes(each.size_bytes) if each.tree else "",
            str(each.file_count) if each.tree else "",
            "yes" if each.pinned else "",
            str(each.lease_count) if each.lease_count else "",
            _ago(each.last_use_time, now) if each.HasField("last_use_time") else "",
            each.source,
        )
        for each in artifacts
    ]
    header = ("REF", "STATE", "SIZE", "FILES", "PINNED", "LEASES", "LAST USED", "SOURCE")
    return columns([header, *rows]) if rows else "no models: the catalog is empty, and nothing is here"


def images(artifacts: Iterable[Artifact], now: float) -> str:
    """A row for each image. The platform is named only where it is not this node's own."""
    rows = [
        (
            *_image(each.ref),
            _state(each),
            show_bytes(each.size_bytes) if each.tree else "",
            "unpacked" if each.in_runtime else "",
            "yes" if each.pinned else "",
            _ago(each.last_use_time, now) if each.HasField("last_use_time") else "",
            each.last_error,
        )
        for each in artifacts
    ]
    header = ("IMAGE", "PLATFORM", "STATE", "SIZE", "RUNTIME", "PINNED", "LAST USED", "NOTE")
    return columns([header, *rows]) if rows else "no images: the catalog has none, and nothing is here"


def model(answer: DescribeResponse, now: float) -> str:
    """Facts, then files, leases and the neighbours in the swarm."""
    it = answer.artifact
    facts = [
        ("ref", it.ref),
        ("source", it.source),
        ("state", _state(it)),
        ("error", it.last_error),
        ("path", it.path),
        ("tree", it.tree),
        ("size", f"{show_bytes(it.size_bytes)} in {it.file_count} files" if it.tree else ""),
        ("runtime", ("unpacked" if it.in_runtime else "not unpacked") if is_image(it.ref) else ""),
        ("pinned", "yes" if it.pinned else "no"),
        ("catalog", "yes" if it.in_catalog else "no"),
        ("last used", _ago(it.last_use_time, now) if it.HasField("last_use_time") else "never"),
        ("include", " ".join(answer.include)),
        ("exclude", " ".join(answer.exclude)),
        *(_swarm(answer.swarm) if answer.HasField("swarm") else ()),
    ]
    parts = [columns([fact for fact in facts if fact[1]])]
    if answer.files:
        files = [
            (file.path, show_bytes(file.size_bytes), "yes" if file.present else "no", file.blob)
            for file in answer.files
        ]
        parts.append(columns([("FILE", "SIZE", "HERE", "BLOB"), *files]))
    if answer.leases:
        leases = [(lease.holder, f"in {coarse(_unix(lease.expire_time) - now)}") for lease in answer.leases]
        parts.append(columns([("LEASE OF", "EXPIRES"), *leases]))
    if answer.swarm.neighbours:
        neighbours = [
            (each.member, f"{each.have_count} of {answer.swarm.chunk_count}")
            for each in answer.swarm.neighbours
        ]
        parts.append(columns([("NEIGHBOUR", "CHUNKS"), *neighbours]))
    return "\n\n".join(parts)


def status(answer: StatusResponse, now: float) -> str:
    """Facts, and what an operator should look at."""
    space, catalog, scrub = answer.space, answer.catalog, answer.scrub
    facts = [
        ("version", answer.version),
        ("state", "draining" if answer.draining else f"serving for {coarse(now - _unix(answer.start_time))}"),
        ("root", answer.root),
        ("used", f"{show_bytes(space.used_bytes)} of {show_bytes(space.capacity_bytes)}"),
        ("held", f"{show_bytes(space.held_bytes)} by leases and pins"),
        ("reserved", f"{show_bytes(space.reserved_bytes)} by fetches under way"),
        (
            "filesystem",
            f"{show_bytes(space.filesystem_free_bytes)} free, {show_bytes(space.min_free_bytes)} must stay",
        ),
        ("fetches", str(answer.flight_count)),
        ("leases", str(answer.lease_count)),
        ("content", f"{answer.tree_count} trees, {answer.blob_count} blobs"),
        ("catalog", _catalog(catalog, now)),
        ("refused", catalog.error),
        ("scrub", f"{scrub.blob_count} blobs read, {scrub.corrupt_count} corrupt, {_round(scrub, now)}"),
        *(("warning", warning) for warning in answer.warnings),
    ]
    return columns([fact for fact in facts if fact[1]])


def peers(answer: ListPeersResponse) -> str:
    """This node, then a row for each of the others."""
    if not answer.address:
        return "no peers: the daemon runs alone until peers.advertise is set"
    words = [
        f"this node is {plain(answer.address)}",
        f"zone {plain(answer.zone)}" if answer.zone else "",
        "encrypted" if answer.encrypted else "not encrypted",
        f"members from {plain(answer.membership)}" if answer.membership else "no members configured",
    ]
    rows = [
        (
            each.address,
            each.zone,
            _peer_state(each),
            coarse(each.usable_in.ToTimedelta().total_seconds()) if each.HasField("usable_in") else "",
            show_bytes(each.received_bytes),
            show_bytes(each.sent_bytes),
            str(each.failure_count),
        )
        for each in answer.peers
    ]
    header = ("ADDRESS", "ZONE", "STATE", "USABLE IN", "RECEIVED", "SENT", "FAILURES")
    table = columns([header, *rows]) if rows else "no other node is known"
    return ", ".join(word for word in words if word) + "\n\n" + table


def readiness(answer: ReadinessResponse) -> str:
    """Whether the node is ready, what it lacks, and what its object says."""
    count, wanted = len(answer.missing), answer.wanted_count
    if not answer.serving:
        verdict = "not ready: the daemon does not serve"
    elif not answer.HasField("wanted_count"):
        verdict = "not ready: no catalog was read that says what is to be warm"
    elif count:
        verdict = f"not ready: {count} of {wanted} models and images are not warm"
    else:
        verdict = f"ready: {wanted} of {wanted} models and images are warm"
    parts = [verdict]
    if answer.missing:
        rows = [
            (each.ref, _state(each), show_bytes(each.size_bytes) if each.tree else "", each.last_error)
            for each in answer.missing
        ]
        parts.append(columns([("REF", "STATE", "SIZE", "NOTE"), *rows]))
    if answer.HasField("gate"):
        parts.append(columns(_gate(answer.gate)))
    return "\n\n".join(parts)


def _gate(gate: Gate) -> list[tuple[str, str]]:
    from cached._proto.v1.operator_pb2 import GateState

    state = GateState.Name(gate.state).removeprefix("GATE_STATE_").lower().replace("_", ": ")
    if gate.HasField("opens_in"):
        state += f", opens in {coarse(gate.opens_in.ToTimedelta().total_seconds())} at the latest"
    trouble = [("trouble", gate.trouble)] if gate.trouble else []
    return [("node", gate.node), ("gate", state), *trouble]


def _image(ref: str) -> tuple[str, str]:
    """Name and platform."""
    try:
        image = ImageRef.parse(ref)
    except InvalidRequest:  # of a newer daemon
        return ref, ""
    return str(image.name), str(image.platform or "")


def _swarm(swarm: Swarm) -> list[tuple[str, str]]:
    facts = [
        ("chunks", f"{swarm.have_count} of {swarm.chunk_count} here"),
        ("coordinator", swarm.coordinator or "none answers"),
    ]
    if swarm.HasField("totals"):
        totals = swarm.totals
        facts.append(
            (
                "swarm",
                f"{totals.member_count} members, {totals.complete_count} with all of it; "
                f"{totals.held_count} of {swarm.chunk_count} chunks held, "
                f"{totals.granted_count} being read from the source, {totals.read_count} read",
            )
        )
        named = " ".join(totals.holders)
        more = totals.complete_count - len(totals.holders)
        facts.append(("holders", f"{named}, and {more} more" if more > 0 else named))
    return facts


def _catalog(catalog: CatalogStatus, now: float) -> str:
    if not catalog.path:
        return "none"
    if not catalog.HasField("load_time"):
        return f"{catalog.path}: never read well"
    return f"{catalog.path}: {catalog.model_count} models, read {_ago(catalog.load_time, now)}"


def _round(scrub: ScrubStatus, now: float) -> str:
    if not scrub.HasField("last_round_time"):
        return "first round not ended"
    return f"last round ended {_ago(scrub.last_round_time, now)}"


def _state(it: Artifact) -> str:
    from cached._proto.v1.types_pb2 import ArtifactState

    name = ArtifactState.Name(it.state).removeprefix("ARTIFACT_STATE_").lower()
    if it.HasField("progress") and it.progress.total_bytes:
        return f"{name} {100 * it.progress.done_bytes // it.progress.total_bytes}%"
    return name


def _peer_state(it: Peer) -> str:
    from cached._proto.v1.operator_pb2 import PeerState

    return PeerState.Name(it.state).removeprefix("PEER_STATE_").lower()


def _unix(time: Timestamp) -> float:
    return time.seconds + time.nanos / 1e9


def _ago(time: Timestamp, now: float) -> str:
    return f"{coarse(now - _unix(time))} ago"
