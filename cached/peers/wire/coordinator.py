"""What a coordinator says to a participant."""

from __future__ import annotations

from collections.abc import Collection

from cached._proto.v1.peer_pb2 import CoordinateResponse
from cached.peers.wire import values as v
from cached.swarm.messages import (
    FromCoordinator,
    Grant,
    Hashes,
    NeighbourInfo,
    Neighbours,
    Pause,
    Refused,
    WantHashes,
    Welcome,
)


def encode_coordinator(message: FromCoordinator) -> bytes:
    said = CoordinateResponse()
    match message:
        case Welcome(version, report_seconds, hashes, neighbours):
            said.welcome.version = version
            said.welcome.report_seconds = report_seconds
            said.welcome.hashes.CopyFrom(v.chunk_hashes(hashes))
            said.welcome.neighbours.extend(map(_neighbour, neighbours))
        case Neighbours(neighbours):
            said.neighbours.SetInParent()
            said.neighbours.neighbours.extend(map(_neighbour, neighbours))
        case Grant(chunks, lease, rate):
            said.grant.chunks.CopyFrom(v.chunk_set(chunks))
            said.grant.lease_seconds = min(lease, v.MAX_SECONDS)
            said.grant.bytes_per_second = min(rate, v.MAX_RATE)
        case Hashes(hashes):
            said.hashes.CopyFrom(v.chunk_hashes(hashes))
        case WantHashes(chunks):
            said.want_hashes.chunks.CopyFrom(v.chunk_set(chunks))
        case Pause(seconds):
            said.pause.seconds = min(seconds, v.MAX_SECONDS)
        case Refused(reason):
            said.refused.reason = reason[: v.MAX_REASON]
    return said.SerializeToString()


def decode_coordinator(data: bytes) -> FromCoordinator | None:
    said = v.parsed(CoordinateResponse, data)
    match said.WhichOneof("message"):
        case "welcome":
            welcome = said.welcome
            return Welcome(
                welcome.version,
                v.read_seconds(welcome.report_seconds),
                v.read_hashes(welcome.hashes),
                _read_neighbours(welcome.neighbours),
            )
        case "neighbours":
            return Neighbours(_read_neighbours(said.neighbours.neighbours))
        case "grant":
            grant = said.grant
            return Grant(
                v.read_chunks(grant.chunks),
                v.read_seconds(grant.lease_seconds),
                v.read_number(grant.bytes_per_second, v.MAX_RATE),
            )
        case "hashes":
            return Hashes(v.read_hashes(said.hashes))
        case "want_hashes":
            return WantHashes(v.read_chunks(said.want_hashes.chunks))
        case "pause":
            return Pause(v.read_seconds(said.pause.seconds))
        case "refused":
            return Refused(v.read_reason(said.refused.reason))
        case None:
            return None


def _neighbour(info: NeighbourInfo) -> CoordinateResponse.Neighbour:
    return CoordinateResponse.Neighbour(
        member=info.member.address,
        zone=info.member.zone,
        data_address=info.data_address,
        complete=info.complete,
    )


def _read_neighbours(said: Collection[CoordinateResponse.Neighbour]) -> tuple[NeighbourInfo, ...]:
    if len(said) > v.MAX_MEMBERS:
        raise v.Malformed(f"{len(said)} neighbours are named at once")
    return tuple(
        NeighbourInfo(v.read_member(x.member, x.zone), v.read_address(x.data_address), x.complete)
        for x in said
    )
