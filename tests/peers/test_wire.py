"""Messages survive the wire, and nothing else gets through it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cached._proto.v1.peer_pb2 import ChunkHashes, ChunkSet, CoordinateRequest, CoordinateResponse
from cached._proto.v1.peer_pb2 import ExchangeRequest as Request
from cached._proto.v1.peer_pb2 import Holding as ProtoHolding
from cached.core.digest import Digest
from cached.core.peer import Member
from cached.peers import wire
from cached.peers.wire.values import MAX_CHUNKS
from cached.swarm.bits import all_bits
from cached.swarm.messages import (
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

TREE = Digest.sha256(b"tree")

numbers = st.integers(0, MAX_CHUNKS - 1)
few = st.sets(numbers, max_size=20).map(lambda chosen: sum(1 << n for n in chosen))
dense = st.binary(max_size=600).map(lambda data: int.from_bytes(data, "little"))
chunks = few | dense
hashes = st.dictionaries(numbers, st.binary(min_size=32, max_size=32), max_size=20)
addresses = st.builds(
    "{}:{}".format,
    st.sampled_from(["10.0.0.1", "[fd00::1]", "node-7.cached.svc", "127.0.0.1"]),
    st.integers(1, 65535),
)
some_addresses = st.lists(addresses, max_size=5).map(tuple)
members = st.builds(Member, addresses, st.sampled_from(["", "eu-west-1a", "Zürich"]))
seconds = st.floats(0, 86_400, allow_nan=False)
texts = st.text(st.characters(categories=("L", "N", "P")), max_size=50)
infos = st.lists(st.builds(NeighbourInfo, members, addresses, st.booleans()), max_size=5).map(tuple)


@st.composite
def hellos(draw: st.DrawFn) -> Hello:
    count = draw(st.integers(0, 5000))
    within = st.integers(0, all_bits(count))
    return Hello(
        draw(st.integers(0, 2**32 - 1)),
        TREE,
        count,
        count + draw(st.integers(0, 2**50)),
        draw(members),
        draw(addresses),
        draw(within),
        draw(within),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(some_addresses),
    )


from_participant = st.one_of(
    hellos(),
    st.builds(Have, chunks, hashes),
    st.builds(Ask, st.integers(0, MAX_CHUNKS), st.booleans(), st.booleans()),
    st.builds(GaveUp, chunks, texts),
    st.builds(Stuck, chunks, some_addresses),
    st.builds(Throttled, seconds),
    st.just(Bye()),
)
from_coordinator = st.one_of(
    st.builds(Welcome, st.integers(0, 2**32 - 1), seconds, hashes, infos),
    st.builds(Neighbours, infos),
    st.builds(Grant, chunks, seconds, st.floats(0, 1e15)),
    st.builds(Hashes, hashes),
    st.builds(WantHashes, chunks),
    st.builds(Pause, seconds),
    st.builds(Refused, texts),
)
holdings = st.builds(Holding, chunks, st.integers(0, MAX_CHUNKS))

ROUTES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "participant": (from_participant, wire.encode_participant, wire.decode_participant),
    "coordinator": (from_coordinator, wire.encode_coordinator, wire.decode_coordinator),
    "request": (
        st.one_of(st.builds(wire.Open, st.just(TREE), addresses), holdings),
        wire.encode_exchange_request,
        wire.decode_exchange_request,
    ),
    "response": (holdings, wire.encode_exchange_response, wire.decode_exchange_response),
}


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_what_is_said_is_heard(route: str, data: st.DataObject) -> None:
    messages, encode, decode = ROUTES[route]
    message = data.draw(messages)
    assert decode(encode(message)) == message


@pytest.mark.parametrize("route", ROUTES)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_noise_is_malformed_or_reasonable(route: str, data: st.DataObject) -> None:
    """Random bytes, and valid messages that were spoiled: an answer or Malformed, and nothing else."""
    messages, encode, decode = ROUTES[route]
    noise = bytearray(data.draw(st.one_of(st.binary(max_size=300), messages.map(encode))))
    rng = random.Random(data.draw(st.integers()))
    for _ in range(rng.randrange(4)):
        if noise:
            noise[rng.randrange(len(noise))] = rng.randrange(256)
    try:
        found = decode(bytes(noise))
    except wire.Malformed:
        return
    if found is not None:
        assert decode(encode(found)) == found, "what was accepted can be said again"


def hello(**other: Any) -> bytes:
    fields: dict[str, Any] = {
        "version": 1,
        "tree": TREE,
        "chunk_count": 8,
        "size_bytes": 8000,
        "member": "10.0.0.1:7400",
        "data_address": "10.0.0.1:7401",
    }
    return CoordinateRequest(hello=CoordinateRequest.Hello(**fields | other)).SerializeToString()


def test_a_hello_that_is_well() -> None:
    assert isinstance(wire.decode_participant(hello()), Hello)


@pytest.mark.parametrize(
    "other",
    [
        {"tree": "sha256:1234"},
        {"tree": "../../etc/passwd"},
        {"chunk_count": MAX_CHUNKS + 1, "size_bytes": 2**40},
        {"size_bytes": 7},
        {"size_bytes": 2**63},
        {"member": "10.0.0.1"},
        {"member": "10.0.0.1:0"},
        {"member": "10.0.0.1:99999"},
        {"member": "10.0.0.1:" + "9" * 5000},
        {"member": "10.0.0.1:\uff17400"},
        {"member": "unix:/run/x:1"},
        {"member": "fd00::1:7400"},
        {"member": "a b:7400"},
        {"member": "a\n:7400"},
        {"member": "a" * 300 + ":7400"},
        {"zone": "a\x1b[2J"},
        {"zone": "z" * 300},
        {"data_address": "http://10.0.0.1:80"},
        {"have": ChunkSet(bits=b"\0\1")},
        {"have": ChunkSet(numbers=[8])},
        {"reading": ChunkSet(numbers=[2**32 - 1])},
        {"neighbours": ["10.0.0.1:1"] * 257},
        {"neighbours": ["nobody"]},
    ],
)
def test_a_hello_that_is_not(other: dict[str, Any]) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode_participant(hello(**other))


@pytest.mark.parametrize(
    "said",
    [
        CoordinateRequest(throttled=CoordinateRequest.Throttled(seconds=math.nan)),
        CoordinateRequest(throttled=CoordinateRequest.Throttled(seconds=math.inf)),
        CoordinateRequest(throttled=CoordinateRequest.Throttled(seconds=-1)),
        CoordinateRequest(throttled=CoordinateRequest.Throttled(seconds=1e9)),
        CoordinateRequest(ask=CoordinateRequest.Ask(ready=2**32 - 1)),
        CoordinateRequest(have=CoordinateRequest.Have(chunks=ChunkSet(bits=bytes(MAX_CHUNKS // 8 + 1)))),
        CoordinateRequest(have=CoordinateRequest.Have(chunks=ChunkSet(numbers=[MAX_CHUNKS]))),
        CoordinateRequest(have=CoordinateRequest.Have(chunks=ChunkSet(numbers=[0] * 50_000))),
        CoordinateRequest(have=CoordinateRequest.Have(hashes=ChunkHashes(numbers=[1], blake3=bytes(31)))),
        CoordinateRequest(have=CoordinateRequest.Have(hashes=ChunkHashes(numbers=[1, 1], blake3=bytes(64)))),
        CoordinateRequest(have=CoordinateRequest.Have(hashes=ChunkHashes(numbers=[2**20], blake3=bytes(32)))),
    ],
)
def test_unreasonable_words_of_a_participant(said: CoordinateRequest) -> None:
    with pytest.raises(wire.Malformed):
        wire.decode_participant(said.SerializeToString())


@pytest.mark.parametrize("rate", [math.nan, -1.0, math.inf])
def test_unreasonable_grants(rate: float) -> None:
    said = CoordinateResponse(grant=CoordinateResponse.Grant(lease_seconds=1, bytes_per_second=rate))
    with pytest.raises(wire.Malformed):
        wire.decode_coordinator(said.SerializeToString())


def test_what_only_a_later_version_knows_is_passed_over() -> None:
    unknown = b"\xfa\x01\x02hi"  # field 31, two bytes
    assert wire.decode_participant(unknown) is None
    assert wire.decode_coordinator(unknown) is None
    assert wire.decode_exchange_request(unknown) is None
    assert wire.decode_exchange_response(unknown) is None
    assert wire.decode_participant(b"") is None


def test_the_shorter_of_bits_and_numbers() -> None:
    def lengths(held: int) -> tuple[int, int]:
        said = Request.FromString(wire.encode_exchange_request(Holding(held)))
        return len(said.holding.chunks.bits), len(said.holding.chunks.numbers)

    assert lengths(1 << 100_000) == (0, 1)
    assert lengths(all_bits(1000)) == (125, 0)
    assert lengths(0) == (0, 0)


def test_reasons_are_fit_for_logs() -> None:
    said = CoordinateResponse(refused=CoordinateResponse.Refused(reason="go\x1b[2J away\n" + "x" * 1000))
    refused = wire.decode_coordinator(said.SerializeToString())
    assert isinstance(refused, Refused)
    assert refused.reason.isprintable()
    assert len(refused.reason) == 500
    too_long = wire.decode_coordinator(wire.encode_coordinator(Refused("x" * 1000)))
    assert too_long == Refused("x" * 500)


def test_what_this_node_says_is_never_too_much() -> None:
    """A source may ask to be left alone for a week; the wire's bound is then said instead."""
    assert wire.decode_participant(wire.encode_participant(Throttled(1e9))) == Throttled(86_400.0)
    assert wire.decode_coordinator(wire.encode_coordinator(Pause(math.inf))) == Pause(86_400.0)
    most = Holding(all_bits(MAX_CHUNKS), MAX_CHUNKS)
    assert wire.decode_exchange_response(wire.encode_exchange_response(most)) == most


def test_the_largest_set_is_read_at_once() -> None:
    """As numbers in the worst order, in well under the time that a loop may stand still."""
    loop = list(range(MAX_CHUNKS - 1, MAX_CHUNKS - 43_000, -1))
    said = ProtoHolding(chunks=ChunkSet(numbers=loop))
    found = wire.decode_exchange_request(Request(holding=said).SerializeToString())
    assert isinstance(found, Holding)
    assert found.chunks.bit_count() == len(loop)
