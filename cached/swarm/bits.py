"""Sets of chunk numbers, as integers: bit n is chunk n.

Union, intersection and difference are `|`, `&` and `& ~`, a few nanoseconds for hundreds of chunks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import TypeAlias

Bits: TypeAlias = int


def bits_of(chunks: Iterable[int]) -> Bits:
    bits = 0
    for chunk in chunks:
        bits |= 1 << chunk
    return bits


def all_bits(count: int) -> Bits:
    return (1 << count) - 1


def each_bit(bits: Bits) -> Iterator[int]:
    """The numbers in `bits`, ascending."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low


def lowest(bits: Bits, count: int) -> Bits:
    """The first `count` of `bits`."""
    taken = 0
    for _ in range(min(count, bits.bit_count())):
        low = bits & -bits
        taken |= low
        bits ^= low
    return taken


def random_bit(bits: Bits, rng: random.Random) -> int:
    """One of `bits`, which are not empty; those after a gap are likelier, which does no harm here."""
    start = int(rng.random() * bits.bit_length())
    high = bits >> start << start
    found = high or bits
    return (found & -found).bit_length() - 1


def to_bytes(bits: Bits, count: int) -> bytes:
    """Little-endian, as many bytes as `count` chunks need."""
    return bits.to_bytes(-(-count // 8), "little")


def from_bytes(data: bytes, count: int) -> Bits:
    """Raises ValueError when `data` has another length, or names a chunk from `count` on."""
    if len(data) != -(-count // 8):
        raise ValueError(f"{len(data)} bytes cannot be a set of {count} chunks")
    bits = int.from_bytes(data, "little")
    if bits >> count:
        raise ValueError(f"a set of {count} chunks names a chunk beyond them")
    return bits
