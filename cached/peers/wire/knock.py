"""Knocking, and being heard."""

from __future__ import annotations

from cached._proto.v1.peer_pb2 import KnockRequest, KnockResponse
from cached.peers.wire import values as v
from cached.swarm.messages import VERSION


def encode_knock(member: str) -> bytes:
    return KnockRequest(member=member).SerializeToString()


def decode_knock(data: bytes) -> str:
    """Who knocks."""
    return v.read_address(v.parsed(KnockRequest, data).member)


def encode_knock_answer() -> bytes:
    return KnockResponse(version=VERSION).SerializeToString()
