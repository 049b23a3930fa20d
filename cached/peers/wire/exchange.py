"""What neighbours say to each other."""

from __future__ import annotations

from dataclasses import dataclass

from cached._proto.v1.peer_pb2 import ExchangeRequest, ExchangeResponse
from cached._proto.v1.peer_pb2 import Holding as ProtoHolding
from cached.core.digest import Digest
from cached.peers.wire import values as v
from cached.swarm.messages import VERSION, Holding


@dataclass(frozen=True, slots=True)
class Open:
    """Whose stream this is, and about which tree."""

    tree: Digest
    member: str
    version: int = VERSION


def encode_exchange_request(message: Open | Holding) -> bytes:
    match message:
        case Open(tree, member, version):
            said = ExchangeRequest(open=ExchangeRequest.Open(version=version, tree=tree, member=member))
        case Holding():
            said = ExchangeRequest(holding=_holding(message))
    return said.SerializeToString()


def decode_exchange_request(data: bytes) -> Open | Holding | None:
    said = v.parsed(ExchangeRequest, data)
    match said.WhichOneof("message"):
        case "open":
            opened = said.open
            return Open(v.read_digest(opened.tree), v.read_address(opened.member), opened.version)
        case "holding":
            return _read_holding(said.holding)
        case None:
            return None


def encode_exchange_response(message: Holding) -> bytes:
    return ExchangeResponse(holding=_holding(message)).SerializeToString()


def decode_exchange_response(data: bytes) -> Holding | None:
    said = v.parsed(ExchangeResponse, data)
    return _read_holding(said.holding) if said.HasField("holding") else None


def _holding(message: Holding) -> ProtoHolding:
    return ProtoHolding(chunks=v.chunk_set(message.chunks), load=min(message.load, v.MAX_CHUNKS))


def _read_holding(said: ProtoHolding) -> Holding:
    return Holding(v.read_chunks(said.chunks), v.read_count(said.load))
