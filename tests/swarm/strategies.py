"""What anybody might say in a swarm: well formed, with numbers that nobody would say in earnest."""

from __future__ import annotations

from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.bits import all_bits, each_bit
from cached.swarm.messages import (
    VERSION,
    Ask,
    Bye,
    GaveUp,
    Grant,
    Hashes,
    Have,
    Hello,
    Holding,
    NeighbourInfo,
    Neighbours,
    Pause,
    Refused,
    Stuck,
    Throttled,
    WantHashes,
    Welcome,
)

TREE = Digest.sha256(b"a tree")
COUNT = 12
ALL = all_bits(COUNT)
MEMBERS = [f"10.0.0.{last}:7000" for last in range(1, 7)]
ME = MEMBERS[2]


def hash_of(chunk: int) -> bytes:
    return b"%032d" % chunk


def hashes_of(chunks: int) -> dict[int, bytes]:
    return {chunk: hash_of(chunk) for chunk in each_bit(chunks)}


members = st.sampled_from(MEMBERS)
zones = st.sampled_from(["", "a", "b"])
seconds = st.sampled_from([0.0, 0.01, 0.3, 2.0, 40.0, 1e9]) | st.floats(0, 1e18)
chunks = st.integers(0, ALL) | st.just(ALL) | st.integers(0, COUNT - 1).map(lambda chunk: 1 << chunk)
any_chunks = chunks | st.integers(0, 1 << 70)
few = st.just(0) | st.integers(0, COUNT - 1).map(lambda chunk: 1 << chunk)
mostly_few = st.one_of(few, few, few, few, any_chunks)
hashes = any_chunks.map(hashes_of) | st.dictionaries(
    st.integers(0, 1 << 40), st.binary(min_size=32, max_size=32), max_size=3
)
steps = st.sampled_from([0.01, 0.3, 1.0, 2.5, 12.0, 40.0])
reasons = st.text(max_size=10)

hellos = st.builds(
    Hello,
    version=st.sampled_from([VERSION] * 9 + [VERSION + 1]),
    tree=st.sampled_from([TREE] * 9 + [Digest.sha256(b"another")]),
    chunk_count=st.sampled_from([COUNT] * 9 + [0, 1 << 20]),
    size=st.sampled_from([COUNT << 20, COUNT << 20, 0, 1 << 62]),
    member=st.builds(Member, members, zones),
    data_address=members,
    have=mostly_few,
    reading=mostly_few,
    wants=st.booleans(),
    moved=st.booleans(),
    neighbours=st.lists(members, max_size=4).map(tuple),
)
from_participants = st.one_of(
    hellos,
    st.builds(Have, mostly_few, hashes),
    st.builds(Ask, st.integers(0, 1 << 31), st.booleans(), st.booleans()),
    st.builds(GaveUp, mostly_few, reasons),
    st.builds(Stuck, any_chunks, st.lists(members, max_size=4).map(tuple)),
    st.builds(Throttled, seconds),
    st.just(Bye()),
)

neighbours = st.lists(
    st.builds(NeighbourInfo, st.builds(Member, members, zones), members, st.booleans()), max_size=6
).map(tuple)
from_coordinators = st.one_of(
    st.builds(Welcome, st.sampled_from([VERSION] * 9 + [7]), seconds, hashes, neighbours),
    st.builds(Neighbours, neighbours),
    st.builds(Grant, any_chunks, seconds, seconds),
    st.builds(Hashes, hashes),
    st.builds(Hashes, st.just(hashes_of(ALL))),
    st.builds(WantHashes, any_chunks),
    st.builds(Pause, seconds),
    st.builds(Refused, reasons),
)
holdings = st.builds(Holding, any_chunks, st.integers(0, 1 << 31))
