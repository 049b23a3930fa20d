from __future__ import annotations

import threading
import time
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cached.serve.peer.data.pace import Pace
from cached.serve.peer.data.slots import Slots
from cached.serve.peer.data.tally import Tally


class Rig:
    """Clients of some slots; each that waits does so in a thread."""

    def __init__(self, most: int) -> None:
        self.loads: list[int] = []
        self.slots = Slots(most, self.loads.append)
        self.order: list[str] = []
        self.threads: list[threading.Thread] = []

    def enter(self, client: str, patience: float = 0) -> bool:
        return self.slots.enter(client, patience)

    def wait(self, client: str) -> None:
        """Have `client` stand in line, and return when it does."""

        def stand() -> None:
            if self.enter(client, 10):
                self.order.append(client)

        before = self.load
        thread = threading.Thread(target=stand)
        thread.start()
        self.threads.append(thread)
        while self.load == before:
            time.sleep(0.001)

    def leave(self, client: str) -> None:
        """`client` leaves, and one who waited has come in by then."""
        due = len(self.order) + 1
        self.slots.leave(client)
        while len(self.order) < due:
            time.sleep(0.001)

    @property
    def load(self) -> int:
        return self.loads[-1] if self.loads else 0

    def close(self) -> None:
        self.slots.close()
        for thread in self.threads:
            thread.join()


def test_as_many_as_there_are_slots() -> None:
    rig = Rig(2)
    assert rig.enter("a")
    assert rig.enter("a")
    assert not rig.enter("b", 0.01)
    assert rig.load == 2
    rig.slots.leave("a")
    assert rig.enter("b")
    rig.slots.leave("a")
    rig.slots.leave("b")
    assert rig.load == 0


def test_first_come_first_served_and_beyond_the_places_nobody_waits() -> None:
    rig = Rig(8)
    for client in "abcdefgh":
        assert rig.enter(client)
    for client in "ijkl":
        rig.wait(client)
    begun = time.monotonic()
    assert not rig.enter("m", 10)
    assert time.monotonic() - begun < 5
    assert rig.load == 12
    for client in "abcd":
        rig.leave(client)
    assert rig.order == ["i", "j", "k", "l"]
    rig.close()


def test_who_has_half_gives_way_to_those_who_wait() -> None:
    rig = Rig(4)
    for client in "aaab":
        assert rig.enter(client)
    rig.wait("a")
    rig.wait("b")
    rig.leave("a")
    assert rig.order == ["b"], "a came first, and has half of the slots still"
    rig.leave("a")
    assert rig.order == ["b", "a"]
    rig.close()


def test_alone_one_client_has_all() -> None:
    rig = Rig(4)
    for _ in range(4):
        assert rig.enter("a")
    rig.wait("a")
    rig.leave("a")
    assert rig.order == ["a"]
    rig.close()


def test_one_client_cannot_take_all_places_to_wait() -> None:
    rig = Rig(4)
    for _ in range(4):
        assert rig.enter("a")
    rig.wait("a")
    begun = time.monotonic()
    assert not rig.enter("a", 10)
    assert time.monotonic() - begun < 5
    rig.wait("b")
    rig.leave("a")
    rig.leave("a")
    assert set(rig.order) == {"a", "b"}
    rig.close()


def test_one_slot_goes_round() -> None:
    rig = Rig(1)
    assert rig.enter("a")
    rig.wait("b")
    rig.leave("a")
    rig.wait("a")
    rig.leave("b")
    assert rig.order == ["b", "a"]
    rig.close()


def test_when_it_closes_nobody_waits_or_enters() -> None:
    rig = Rig(1)
    assert rig.enter("a")
    rig.wait("b")
    rig.close()
    assert rig.order == []
    assert not rig.enter("c", 10)
    rig.slots.leave("a")
    assert rig.load == 0


@settings(deadline=None)
@given(st.integers(1, 9), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_never_more_than_there_are(most: int, steps: list[tuple[str, bool]]) -> None:
    loads: list[int] = []
    slots = Slots(most, loads.append)
    running: Counter[str] = Counter()
    for client, comes in steps:
        if comes:
            entered = slots.enter(client, 0)
            assert entered is (running.total() < most)
            running[client] += entered
        elif running[client]:
            slots.leave(client)
            running[client] -= 1
        assert not loads or loads[-1] == running.total()


def test_bytes_flow_as_fast_as_allowed() -> None:
    pace = Pace(1 << 20, uploads=1)
    assert pace.piece == 128 << 10
    begun = time.monotonic()
    waited = sum(pace.wait(pace.piece) for _ in range(3))
    assert 0.2 < waited <= time.monotonic() - begun + 0.01


def test_without_a_bound_nobody_waits() -> None:
    pace = Pace(0, uploads=4)
    assert not any(pace.wait(1 << 30) for _ in range(3))
    assert pace.piece == 256 << 10


def test_under_a_low_bound_pieces_are_small() -> None:
    assert Pace(1000, uploads=4).piece == 16 << 10
    assert Pace(1 << 40, uploads=4).piece == 256 << 10


def test_nobody_waits_for_bandwidth_once_it_stops() -> None:
    pace = Pace(1, uploads=1)
    pace.wait(1 << 20)
    threading.Timer(0.05, pace.stop).start()
    begun = time.monotonic()
    pace.wait(1)
    assert time.monotonic() - begun < 5


def test_the_tally_forgets_who_was_sent_to_longest_ago() -> None:
    tally = Tally()
    for number in range(4096):
        tally.add(str(number), 1)
    tally.add("0", 5)
    tally.add("new", 1)
    found = tally.snapshot()
    assert len(found) == 4096
    assert found["0"] == 6
    assert "1" not in found
