"""What messages are made of, and the bounds of each. All `read_*` raise Malformed."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

from google.protobuf.message import DecodeError, Message

from cached._proto.v1.peer_pb2 import ChunkHashes, ChunkSet
from cached.core.digest import Digest
from cached.core.peer import Member
from cached.peers.membership.address import Address
from cached.swarm.bits import Bits, each_bit
from cached.swarm.messages import Hash

MAX_CHUNKS: Final = 2**20
MAX_SIZE: Final = 2**63
MAX_SECONDS: Final = 86_400.0  # nobody may stop a swarm for longer
MAX_RATE: Final = 1e15
MAX_MEMBERS: Final = 256  # named in one message
MAX_REASON: Final = 500

_MAX_ADDRESS = 280
_MAX_ZONE = 256
_HASH = 32
_FEW = 256
_MAX_NUMBERS = MAX_CHUNKS // 8 // 3  # beyond it, bits are the shorter
_ADDRESS = re.compile(r"[A-Za-z0-9._:\[\]-]+\Z")

M = TypeVar("M", bound=Message)


class Malformed(ValueError):
    """Somebody said what no node of this version says."""


def parsed(kind: type[M], data: bytes) -> M:
    try:
        return kind.FromString(data)
    except DecodeError:
        raise Malformed(f"{len(data)} bytes are no {kind.DESCRIPTOR.name}") from None


def chunk_set(chunks: Bits) -> ChunkSet:
    """Numbers where they are few and the shorter, as for one chunk of many."""
    width, count = -(-chunks.bit_length() // 8), chunks.bit_count()
    if count <= _FEW and 3 * count < width:
        return ChunkSet(numbers=each_bit(chunks))
    return ChunkSet(bits=chunks.to_bytes(width, "little"))


def read_chunks(said: ChunkSet, count: int = MAX_CHUNKS) -> Bits:
    """Of a tree with `count` chunks."""
    numbers: Collection[int] = said.numbers
    if (
        len(said.bits) > MAX_CHUNKS // 8
        or len(numbers) > _MAX_NUMBERS
        or max(numbers, default=0) >= MAX_CHUNKS
    ):
        raise Malformed(f"a set of chunks names some beyond {MAX_CHUNKS}, or too many")
    # In an array of bytes: to add to an integer of this size, number by number, takes seconds.
    joined = bytearray(max(numbers) // 8 + 1 if numbers else 0)
    for number in numbers:
        joined[number >> 3] |= 1 << (number & 7)
    bits = int.from_bytes(said.bits, "little") | int.from_bytes(joined, "little")
    if bits >> count:
        raise Malformed(f"a set of chunks names some beyond {count}")
    return bits


def chunk_hashes(hashes: Mapping[int, Hash]) -> ChunkHashes:
    return ChunkHashes(numbers=hashes.keys(), blake3=b"".join(hashes.values()))


def read_hashes(said: ChunkHashes) -> dict[int, Hash]:
    joined, count = said.blake3, len(said.numbers)
    if len(joined) != _HASH * count:
        raise Malformed(f"{len(joined)} bytes of hashes for {count} chunks")
    hashes = {n: joined[_HASH * at : _HASH * (at + 1)] for at, n in enumerate(said.numbers)}
    if len(hashes) != count or max(hashes, default=0) >= MAX_CHUNKS:
        raise Malformed(f"a hash names a chunk twice, or one beyond {MAX_CHUNKS}")
    return hashes


def read_digest(text: str) -> Digest:
    digest = Digest.read(text)
    if digest is None:
        raise Malformed(f"no digest: {text[:100]!r}")
    return digest


def read_address(text: str) -> str:
    if len(text) > _MAX_ADDRESS or not _ADDRESS.match(text):
        raise Malformed(f"no address of a member: {text[:100]!r}")
    try:
        Address.parse(text)
    except ValueError as error:
        raise Malformed(f"no address of a member: {text[:100]!r}: {error}") from None
    return text


def read_addresses(texts: Collection[str]) -> tuple[str, ...]:
    if len(texts) > MAX_MEMBERS:
        raise Malformed(f"{len(texts)} members are named at once")
    return tuple(map(read_address, texts))


def read_member(address: str, zone: str) -> Member:
    if len(zone) > _MAX_ZONE or not zone.isprintable():
        raise Malformed(f"no zone: {zone[:100]!r}")
    return Member(read_address(address), zone)


def read_seconds(seconds: float) -> float:
    return read_number(seconds, MAX_SECONDS)


def read_number(number: float, most: float) -> float:
    if not (math.isfinite(number) and 0 <= number <= most):
        raise Malformed(f"{number} is not between 0 and {most:g}")
    return number


def read_count(count: int) -> int:
    if count > MAX_CHUNKS:
        raise Malformed(f"{count} is beyond {MAX_CHUNKS}")
    return count


def clip(texts: Iterable[str]) -> list[str]:
    return list(texts)[:MAX_MEMBERS]


def read_reason(text: str) -> str:
    """Fit for a log, whatever was said."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_REASON])
