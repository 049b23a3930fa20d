"""Sets of chunks, who is rarest, who coordinates: against plain models of them."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.swarm.bits import all_bits, bits_of, each_bit, from_bytes, lowest, random_bit, to_bytes
from cached.swarm.picker import Rarity
from cached.swarm.rendezvous import ranking

COUNT = 40
sets = st.frozensets(st.integers(0, COUNT - 1))
members = st.sampled_from("abcde")


@given(sets, sets, st.integers(0, COUNT + 1))
def test_bits_are_sets(one: frozenset[int], other: frozenset[int], some: int) -> None:
    bits = bits_of(one)
    assert list(each_bit(bits)) == sorted(one)
    assert bits | bits_of(other) == bits_of(one | other)
    assert bits & ~bits_of(other) == bits_of(one - other)
    assert list(each_bit(lowest(bits, some))) == sorted(one)[:some]
    assert from_bytes(to_bytes(bits, COUNT), COUNT) == bits


@given(sets.filter(bool), st.integers())
def test_a_random_bit_is_one_of_them(chunks: frozenset[int], seed: int) -> None:
    assert random_bit(bits_of(chunks), random.Random(seed)) in chunks


@given(st.binary(max_size=8), st.integers(0, COUNT))
def test_bytes_of_another_length_or_with_chunks_beyond_are_refused(data: bytes, count: int) -> None:
    right = len(data) == -(-count // 8) and not int.from_bytes(data, "little") >> count
    if right:
        assert to_bytes(from_bytes(data, count), count) == data
    else:
        with pytest.raises(ValueError, match="set of"):
            from_bytes(data, count)


@given(st.lists(st.tuples(st.sampled_from(["hold", "lose", "forget"]), members, sets)), sets, st.integers())
def test_the_rarest_is_picked(
    events: list[tuple[str, str, frozenset[int]]], wanted: frozenset[int], seed: int
) -> None:
    rarity = Rarity(all_bits(COUNT))
    model: dict[str, set[int]] = {}
    for what, member, chunks in events:
        if what == "hold":
            news = chunks - model.get(member, set())
            assert rarity.hold(member, bits_of(chunks)) == bits_of(news)
            model.setdefault(member, set()).update(chunks)
        elif what == "lose":
            rarity.lose(member, bits_of(chunks))
            model.get(member, set()).difference_update(chunks)
        else:
            rarity.forget(member)
            model.pop(member, None)
    assert rarity.holdings == {member: bits_of(chunks) for member, chunks in model.items()}
    holders = Counter(chunk for chunks in model.values() for chunk in chunks)
    for level, bits in enumerate(rarity.levels):
        assert list(each_bit(bits)) == [chunk for chunk in range(COUNT) if holders[chunk] == level]
    busy = {member: 10.0 * place for place, member in enumerate(sorted(model))}
    picked = rarity.least_busy(bits_of(wanted), busy, random.Random(seed))
    able = [member for member in busy if model[member] & wanted]
    assert picked == (able[0] if able else None)
    if picked is not None:
        offered = model[picked] & wanted
        chunk = rarity.rarest(bits_of(offered), random.Random(seed))
        assert chunk in offered
        assert holders[chunk] == min(holders[other] for other in offered)


@given(st.frozensets(st.integers(0, 99), min_size=1), st.integers(0, 99))
def test_a_member_that_goes_moves_no_other_pair(hosts: frozenset[int], gone: int) -> None:
    tree = Digest.sha256(b"a tree")
    order = ranking(tree, [f"10.0.0.{host}:7000" for host in hosts])
    left = ranking(tree, [f"10.0.0.{host}:7000" for host in sorted(hosts - {gone})])
    assert left == [member for member in order if member != f"10.0.0.{gone}:7000"]


def test_trees_are_shared_out_evenly() -> None:
    addresses = [f"10.0.0.{host}:7000" for host in range(8)]
    firsts = Counter(ranking(Digest.sha256(b"%d" % tree), addresses)[0] for tree in range(800))
    assert min(firsts.values()) > 60
    assert max(firsts.values()) < 140
