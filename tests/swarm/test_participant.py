"""What one participant wants done, event by event."""

from __future__ import annotations

import random

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.actions import (
    Action,
    Cancel,
    ChooseCoordinator,
    Complete,
    Connect,
    Disconnect,
    Fetch,
    SendCoordinator,
    SendNeighbour,
    TellHashes,
)
from cached.swarm.bits import all_bits, bits_of, each_bit
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits
from cached.swarm.messages import (
    VERSION,
    Grant,
    Hash,
    Hashes,
    Have,
    Hello,
    Holding,
    NeighbourInfo,
    Stuck,
    WantHashes,
    Welcome,
)
from cached.swarm.participant import Participant

TREE = Digest.sha256(b"a tree")
COUNT = 8
ALL = all_bits(COUNT)
ME, LOW, HIGH = (Member(f"10.0.0.{last}:7000") for last in (5, 1, 9))


def hash_of(chunk: int) -> Hash:
    return b"%032d" % chunk


def hashes_of(chunks: int) -> dict[int, Hash]:
    return {chunk: hash_of(chunk) for chunk in each_bit(chunks)}


def participant(
    have: int = 0, hashes: dict[int, Hash] | None = None, health: Health | None = None
) -> Participant:
    """One that was welcomed at 0, and has a stream with both neighbours."""
    health, rng = health or Health(), random.Random(1)
    made = Participant(
        TREE, COUNT, COUNT << 20, ME, "10.0.0.5:7001", have, hashes or {}, FetchLimits(), health, rng
    )
    made.start(0.0, [ME])
    neighbours = tuple(NeighbourInfo(member, "10.0.0.1:7001") for member in (LOW, HIGH))
    made.told(0.0, Welcome(VERSION, 0.1, {}, neighbours))
    made.connected(0.0, LOW.address)
    made.connected(0.0, HIGH.address)
    return made


def said(actions: list[Action]) -> list[object]:
    """What goes to the coordinator."""
    return [action.message for action in actions if isinstance(action, SendCoordinator)]


def test_hashes_at_hand_are_told_at_once_and_the_driver_looks_up_the_others() -> None:
    made = participant(have=0b1111, hashes=hashes_of(0b0011))
    actions = made.told(1.0, WantHashes(0b10110))
    assert said(actions) == [Have(0b0010, hashes_of(0b0010))]
    assert TellHashes(0b0100) in actions


def test_a_grant_for_chunks_that_are_here_is_answered_with_their_hashes() -> None:
    made = participant(have=ALL)
    assert made.told(1.0, Grant(0b101, 30.0)) == [TellHashes(0b101)]


def test_a_complete_tree_keeps_no_hashes() -> None:
    made = participant()
    made.told(1.0, Hashes(hashes_of(ALL)))
    assert made.hash_of(0) == hash_of(0)
    for chunk in range(COUNT):
        actions = made.received(1.0, chunk, LOW.address, hash_of(chunk))
    assert Complete() in actions
    made.told(2.0, Hashes(hashes_of(ALL)))
    assert [made.hash_of(chunk) for chunk in range(COUNT)] == [None] * COUNT
    assert made.told(2.0, WantHashes(ALL)) == [TellHashes(ALL)]


def spoil(made: Participant, now: float, chunks: int) -> list[Action]:
    """`chunks` of a complete tree are spoiled, and the coordinator welcomes the node again."""
    actions = made.spoiled(now, chunks)
    made.told(now, Welcome(VERSION, 0.1, hashes_of(ALL), made.neighbours))
    return actions


def test_spoiled_chunks_are_claimed_no_more() -> None:
    made = participant(have=ALL)
    actions = made.spoiled(1.0, 0b110)
    (hello,) = [message for message in said(actions) if isinstance(message, Hello)]
    assert hello.have == ALL & ~0b110
    assert actions.index(SendCoordinator(hello)) == actions.index(ChooseCoordinator(ME.address)) + 1
    assert {action.member for action in actions if isinstance(action, Disconnect)} == {
        LOW.address,
        HIGH.address,
    }
    assert [action.member for action in actions if isinstance(action, Connect)] == [HIGH.address]
    assert made.connected(1.1, HIGH.address) == [SendNeighbour(HIGH.address, Holding(ALL & ~0b110, 0))]


def test_spoiled_chunks_come_from_the_source_only() -> None:
    made = participant(have=ALL)
    spoil(made, 1.0, 0b110)
    made.connected(1.1, HIGH.address)
    actions = made.heard(1.1, HIGH.address, Holding(ALL))
    actions += made.told(1.2, Hashes(hashes_of(ALL)))
    actions += made.tick(2.0)
    assert not [action for action in actions if isinstance(action, Fetch)]
    assert Stuck(0b110) in said(actions)
    fetches = made.told(2.1, Grant(0b110, 30.0))
    assert [(fetch.chunk, fetch.member) for fetch in fetches if isinstance(fetch, Fetch)] == [
        (1, None),
        (2, None),
    ]
    made.received(3.0, 1, None, hash_of(1))
    assert Complete() in made.received(3.0, 2, None, hash_of(2))
    assert made.have == ALL


def test_what_neighbours_are_bringing_of_spoiled_chunks_is_not_waited_for() -> None:
    made = participant()
    made.told(1.0, Hashes(hashes_of(ALL)))
    actions = made.heard(1.0, HIGH.address, Holding(0b111))
    asked = bits_of(action.chunk for action in actions if isinstance(action, Fetch))
    assert asked
    cancelled = [action for action in made.spoiled(1.1, asked) if isinstance(action, Cancel)]
    assert bits_of(cancel.chunk for cancel in cancelled) == asked
    late = next(each_bit(asked))
    made.received(1.2, late, HIGH.address, hash_of(late))
    assert not made.have & asked


def overtaken(seconds: float) -> Health:
    """What is thought of LOW, which brings nothing for so long, until HIGH brings the same."""
    health = Health()
    made = participant(health=health)
    made.told(1.0, Hashes(hashes_of(ALL)))
    made.heard(1.0, LOW.address, Holding(0b011))
    made.heard(1.0, HIGH.address, Holding(0b111))
    made.received(1.005, 2, HIGH.address, hash_of(2))
    actions = made.tick(1.0 + seconds)
    again = [each.chunk for each in actions if isinstance(each, Fetch) and each.member == HIGH.address]
    assert again
    for chunk in again:
        made.received(1.01 + seconds, chunk, HIGH.address, hash_of(chunk))
    return health


def test_who_takes_longer_than_a_short_chunk_did_stays_trusted() -> None:
    """A model's small files come first, and make all others look late."""
    assert overtaken(0.25).trusted(2.0, LOW.address)


def test_who_is_late_for_long_and_is_overtaken_is_set_aside() -> None:
    assert not overtaken(2.5).trusted(3.6, LOW.address)


def test_it_rests_while_nobody_answers_and_does_not_wait_for_who_left() -> None:
    """A time to wake that has passed would have its driver tick without a pause."""
    rng = random.Random(1)
    made = Participant(TREE, COUNT, COUNT << 20, ME, "10.0.0.5:7001", 0, {}, FetchLimits(), Health(), rng)
    actions = made.start(0.0, [Member(f"10.0.0.{number}:7000") for number in range(20, 40)])
    turned: list[str] = []
    now, alone = 0.0, False
    while now < 100:
        turned += [action.member for action in actions if isinstance(action, ChooseCoordinator)]
        if not alone and ME.address in turned[:-1]:
            made.members_changed(now, [])
            alone = True
        now = made.wake_at + 0.01
        actions = made.tick(now)
        assert made.wake_at > now
    assert turned.count(ME.address) > 2
