"""Who goes next: bounds hold, nobody starves, nothing waits that may go."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cached.kit.bucket import Bucket
from cached.transfer.turns import Ask, Group, Line, Turns


@given(
    rate=st.integers(1, 1000),
    steps=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 500)), min_size=1, max_size=50),
)
def test_a_bucket_keeps_to_its_rate_over_any_span(rate: int, steps: list[tuple[float, int]]) -> None:
    bucket = Bucket(rate)
    now, begun = 0.0, []
    for pause, count in steps:
        now = max(now + pause, bucket.ready_at)
        bucket.charge(count, now)
        begun.append((now, count))
    for first, (start, _) in enumerate(begun):
        for last in range(first, len(begun)):
            *before, (end, final) = begun[first : last + 1]
            assert sum(count for _, count in before) <= rate * (end - start) * (1 + 1e-9) + 1e-6
            assert final > 0


def test_a_bucket_without_a_rate_is_always_ready() -> None:
    bucket = Bucket(0)
    bucket.charge(1 << 40, 5.0)
    assert bucket.ready_at < 0


class TurnsMachine(RuleBasedStateMachine):
    """Fetches come, ask, are served and leave, against a model that only counts."""

    @initialize(
        connections=st.integers(1, 4),
        bandwidth=st.sampled_from([0, 50]),
        groups=st.lists(
            st.tuples(st.integers(0, 3), st.sampled_from([0, 20]), st.booleans()), min_size=1, max_size=3
        ),
        lines=st.lists(st.integers(0, 2), min_size=1, max_size=5),
    )
    def set_up(
        self, connections: int, bandwidth: int, groups: list[tuple[int, int, bool]], lines: list[int]
    ) -> None:
        self.connections = connections
        self.turns = Turns(connections, bandwidth)
        self.groups = [Group(count, Bucket(rate), metered) for count, rate, metered in groups]
        self.lines = [Line(self.groups[at % len(groups)]) for at in lines]
        self.bandwidth = bandwidth
        self.now = 0.0
        self.waiting: list[Ask] = []
        self.running: list[Ask] = []
        self.paused: dict[str, float] = {}
        self.charged = 0

    @rule(at=st.integers(0, 4), length=st.integers(1, 100), host=st.sampled_from("ab"))
    def ask(self, at: int, length: int, host: str) -> None:
        self.waiting.append(self.turns.ask(self.lines[at % len(self.lines)], length, host))

    @rule()
    def advance(self) -> None:
        before = {id(line): line.running for line in self.lines}
        granted, wake_at = self.turns.advance(self.now)
        for ask in granted:
            assert self.paused.get(ask.host, 0) <= self.now
            self.waiting.remove(ask)
            self.running.append(ask)
            self.charged += ask.length * ask.line.group.metered
        assert wake_at is None or wake_at > self.now
        if self.waiting and not self.running:
            assert wake_at is not None, "all wait and nobody will wake them"
        for ask in granted[:1]:
            rivals = [
                other.line
                for other in self.waiting
                if other.line is not ask.line
                and other.line.group is ask.line.group
                and other.host == ask.host
            ]
            heads = [line for line in rivals if line.waiting[0].host == ask.host]
            assert all(before[id(ask.line)] <= line.running for line in heads)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        ask = data.draw(st.sampled_from(self.running))
        self.running.remove(ask)
        self.turns.leave(ask)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        ask = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(ask)
        self.turns.leave(ask)

    @rule(host=st.sampled_from("ab"), seconds=st.floats(0, 5))
    def pause(self, host: str, seconds: float) -> None:
        self.turns.pause(host, self.now + seconds)
        self.paused[host] = max(self.paused.get(host, 0), self.now + seconds)

    @rule(seconds=st.floats(0.01, 10))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def bounds_hold(self) -> None:
        assert len(self.running) <= self.connections
        for group in self.groups:
            running = sum(ask.line.group is group for ask in self.running)
            assert group.running == running
            assert not group.connections or running <= group.connections
        for line in self.lines:
            assert list(line.waiting) == [ask for ask in self.waiting if ask.line is line]
        if self.bandwidth:
            assert self.charged <= self.bandwidth * self.now + 100

    def teardown(self) -> None:
        """Whatever was going on, all that waits is served in the end."""
        if not hasattr(self, "turns"):
            return
        for _ in range(10_000):
            granted, wake_at = self.turns.advance(self.now)
            self.running += granted
            if self.running:
                self.turns.leave(self.running.pop())
            elif wake_at is None:
                break
            else:
                self.now = wake_at
        assert not any(line.waiting for line in self.lines)


TurnsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
test_turns = TurnsMachine.TestCase


def test_a_small_fetch_is_served_next_to_a_huge_one() -> None:
    turns = Turns(4, 0)
    group = Group(0, Bucket(0))
    huge, small = Line(group), Line(group)
    asks = [turns.ask(huge, 8, "h") for _ in range(100)]
    running, _ = turns.advance(0)
    assert running == asks[:4]
    wanted = turns.ask(small, 1, "h")
    assert turns.advance(0)[0] == []
    turns.leave(running[0])
    assert turns.advance(0)[0] == [wanted]


def test_two_fetches_get_half_of_the_turns_each() -> None:
    turns = Turns(4, 0)
    group = Group(0, Bucket(0))
    lines = [Line(group), Line(group)]
    for line in lines:
        for _ in range(50):
            turns.ask(line, 1, "h")
    running, _ = turns.advance(0)
    for _ in range(40):
        assert [line.running for line in lines] == [2, 2]
        turns.leave(running.pop(0))
        running += turns.advance(0)[0]


def test_two_groups_get_half_of_the_turns_each_however_many_fetches_they_are() -> None:
    turns = Turns(4, 0)
    source, peers = Group(0, Bucket(0)), Group(0, Bucket(0))
    for line in [*(Line(source) for _ in range(10)), Line(peers)]:
        for _ in range(50):
            turns.ask(line, 1, "h")
    running, _ = turns.advance(0)
    for _ in range(40):
        assert [source.running, peers.running] == [2, 2]
        turns.leave(running.pop(0))
        running += turns.advance(0)[0]


def test_what_waits_for_bandwidth_holds_no_turn() -> None:
    turns = Turns(1, 10)
    source, peers = Line(Group(0, Bucket(0))), Line(Group(0, Bucket(0), metered=False))
    first, second = turns.ask(source, 50, "h"), turns.ask(source, 50, "h")
    assert turns.advance(0.0)[0] == [first]
    turns.leave(first)
    wanted = turns.ask(peers, 50, "h")
    assert turns.advance(1.0)[0] == [wanted]
    turns.leave(wanted)
    assert turns.advance(1.0) == ([], 5.0)
    assert turns.advance(5.0)[0] == [second]


def test_a_pause_of_one_host_leaves_others_alone() -> None:
    turns = Turns(4, 0)
    group = Group(0, Bucket(0))
    turns.pause("busy", 7.0)
    held, free = turns.ask(Line(group), 1, "busy"), turns.ask(Line(group), 1, "idle")
    assert turns.advance(0.0) == ([free], 7.0)
    assert turns.advance(7.0) == ([held], None)
