"""What a participant says to the coordinator."""

from __future__ import annotations

from cached._proto.v1.peer_pb2 import CoordinateRequest
from cached.peers.wire import values as v
from cached.swarm.messages import Ask, Bye, FromParticipant, GaveUp, Have, Hello, Stuck, Throttled


def encode_participant(message: FromParticipant) -> bytes:
    said = CoordinateRequest()
    match message:
        case Hello():
            said.hello.CopyFrom(_hello(message))
        case Have(chunks, hashes):
            said.have.chunks.CopyFrom(v.chunk_set(chunks))
            if hashes:
                said.have.hashes.CopyFrom(v.chunk_hashes(hashes))
        case Ask(ready, behind, proven):
            said.ask.CopyFrom(CoordinateRequest.Ask(ready=ready, behind=behind, proven=proven))
        case GaveUp(chunks, reason):
            clipped = reason[: v.MAX_REASON]
            said.gave_up.CopyFrom(CoordinateRequest.GaveUp(chunks=v.chunk_set(chunks), reason=clipped))
        case Stuck(chunks, avoid):
            said.stuck.CopyFrom(CoordinateRequest.Stuck(chunks=v.chunk_set(chunks), avoid=v.clip(avoid)))
        case Throttled(seconds):
            said.throttled.seconds = min(seconds, v.MAX_SECONDS)
        case Bye():
            said.bye.SetInParent()
    return said.SerializeToString()


def decode_participant(data: bytes) -> FromParticipant | None:
    said = v.parsed(CoordinateRequest, data)
    match said.WhichOneof("message"):
        case "hello":
            return _read_hello(said.hello)
        case "have":
            return Have(v.read_chunks(said.have.chunks), v.read_hashes(said.have.hashes))
        case "ask":
            return Ask(v.read_count(said.ask.ready), said.ask.behind, said.ask.proven)
        case "gave_up":
            return GaveUp(v.read_chunks(said.gave_up.chunks), v.read_reason(said.gave_up.reason))
        case "stuck":
            return Stuck(v.read_chunks(said.stuck.chunks), v.read_addresses(said.stuck.avoid))
        case "throttled":
            return Throttled(v.read_seconds(said.throttled.seconds))
        case "bye":
            return Bye()
        case None:
            return None


def version_of(data: bytes) -> int | None:
    """What a Hello says of itself, so that another version is refused for that and for nothing else.

    None when it is no Hello. Raises Malformed.
    """
    said = v.parsed(CoordinateRequest, data)
    return said.hello.version if said.WhichOneof("message") == "hello" else None


def _hello(hello: Hello) -> CoordinateRequest.Hello:
    return CoordinateRequest.Hello(
        version=hello.version,
        tree=hello.tree,
        chunk_count=hello.chunk_count,
        size_bytes=hello.size,
        member=hello.member.address,
        zone=hello.member.zone,
        data_address=hello.data_address,
        have=v.chunk_set(hello.have),
        reading=v.chunk_set(hello.reading),
        wants=hello.wants,
        moved=hello.moved,
        neighbours=v.clip(hello.neighbours),
    )


def _read_hello(said: CoordinateRequest.Hello) -> Hello:
    count = v.read_count(said.chunk_count)
    if said.size_bytes >= v.MAX_SIZE or said.size_bytes < count:
        raise v.Malformed(f"{count} chunks cannot be {said.size_bytes} bytes")
    return Hello(
        version=said.version,
        tree=v.read_digest(said.tree),
        chunk_count=count,
        size=said.size_bytes,
        member=v.read_member(said.member, said.zone),
        data_address=v.read_address(said.data_address),
        have=v.read_chunks(said.have, count),
        reading=v.read_chunks(said.reading, count),
        wants=said.wants,
        moved=said.moved,
        neighbours=v.read_addresses(said.neighbours),
    )
