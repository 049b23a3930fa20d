"""What is asked of the API server, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cached.core.kubernetes import Condition, Unanswered
from cached.engine.gate.agenda import Change, Pace, Read, Report, Step, Wish
from cached.engine.gate.decider import Reason
from tests.gate.cluster import (
    AWAY,
    BOTH,
    COLD,
    CONDITION,
    DEADLINE,
    FOREIGN,
    PREFIX,
    TAINT,
    WARM,
    Cluster,
    joined,
)

DOWN = Unanswered("ConnectError: refused")


def reported(steps: list[Step]) -> list[tuple[bool, str]]:
    return [(step.condition.true, step.condition.reason) for step in steps if isinstance(step, Report)]


def test_a_new_node_is_opened_once_all_is_warm() -> None:
    cluster = Cluster()
    cluster.warm = ["b"]
    steps = cluster.run(20)
    assert steps == [Read(), Report(Condition(CONDITION, False, "NotWarm", ""))]
    assert TAINT in cluster.node.taints
    cluster.outlook, cluster.warm = WARM, ["a", "b"]
    steps = cluster.run(10)
    labels: dict[str, str | None] = {f"{PREFIX}a": "warm", f"{PREFIX}b": "warm"}
    assert steps == [Change(labels, TAINT), Report(Condition(CONDITION, True, "Warm", ""))]
    assert cluster.node.taints == {FOREIGN}
    assert cluster.decider.record.opened is Reason.WARM
    assert cluster.run(500) == [], "what is as wanted is left alone"


def test_the_deadline_opens_it_and_the_condition_says_why() -> None:
    cluster = Cluster()
    cluster.run(DEADLINE - 10)
    assert TAINT in cluster.node.taints
    cluster.run(20)
    assert cluster.node.taints == {FOREIGN}
    condition = cluster.node.conditions[CONDITION]
    assert (condition.true, condition.reason) == (True, "DeadlinePassed")
    assert "1 of 2 models and images were not warm: a" in condition.message
    cluster.outlook = WARM
    assert cluster.run(300) == [], "how it was opened is history"


def test_one_that_is_warm_at_once_is_never_said_to_be_closed() -> None:
    cluster = Cluster()
    cluster.outlook = WARM
    assert reported(cluster.run(30)) == [(True, "Warm")]


@pytest.mark.parametrize(
    ("wish", "kinds"),
    [
        (Wish("", "", PREFIX, 3), [Read]),
        (Wish(TAINT, "", PREFIX, 3), [Read, Change]),
        (Wish("", CONDITION, PREFIX, 3), [Read, Report]),
    ],
)
def test_only_what_is_wished_for(wish: Wish, kinds: list[type[Step]]) -> None:
    cluster = Cluster(wish)
    cluster.outlook = WARM
    assert [type(step) for step in cluster.run(25)] == kinds
    assert cluster.decider.record.opened is Reason.WARM


def test_a_restart_on_an_open_node_changes_nothing() -> None:
    cluster = Cluster()
    cluster.outlook, cluster.warm = WARM, ["a"]
    cluster.run(60)
    cluster.node = replace(cluster.node, taints=frozenset({TAINT}))  # an operator's, this time
    cluster.outlook = AWAY
    cluster.begin(cluster.decider)
    assert cluster.run(25) == [Read()]
    cluster.outlook = WARM
    assert set(map(type, cluster.run(5000))) == {Read}
    assert cluster.node.taints == {TAINT}


def test_another_boot_closes_the_condition_and_puts_no_taint() -> None:
    cluster = Cluster()
    cluster.outlook = WARM
    cluster.run(60)
    cluster.outlook, cluster.boot = COLD, "boot-2"
    cluster.begin(cluster.decider)
    assert reported(cluster.run(60)) == [(False, "NotWarm")]
    assert cluster.node.taints == {FOREIGN}
    cluster.outlook = WARM
    assert reported(cluster.run(60)) == [(True, "Warm")]


def test_a_node_that_has_joined_anew_is_opened_anew() -> None:
    cluster = Cluster()
    cluster.outlook, cluster.warm = WARM, ["a"]
    cluster.run(60)
    cluster.node = joined("uid-2")
    cluster.run(1300)
    assert cluster.node.taints == {FOREIGN}
    assert cluster.node.labels == {"zone": "a", f"{PREFIX}a": "warm"}
    assert cluster.node.conditions[CONDITION].true


def test_one_that_joins_anew_just_before_it_is_opened_is_found_out_at_once() -> None:
    cluster = Cluster()
    cluster.run(60)
    cluster.node, cluster.outlook = joined("uid-2"), WARM
    cluster.run(20)
    assert cluster.node.taints == {FOREIGN}
    assert cluster.decider.record.node == "uid-2"


def test_an_api_server_that_is_away_is_asked_with_growing_pauses() -> None:
    cluster = Cluster()
    cluster.outlook, cluster.down = WARM, DOWN
    cluster.run(3600)
    assert cluster.agenda.trouble == str(DOWN)
    assert set(map(type, (step for _, step in cluster.asked))) == {Read}
    assert 40 < len(cluster.asked) < 100
    cluster.down = None
    cluster.run(100)
    assert cluster.node.taints == {FOREIGN}
    assert cluster.agenda.trouble == ""


def test_missing_rights_are_asked_for_more_and_more_slowly() -> None:
    cluster = Cluster(Wish(TAINT, "", PREFIX, 3))
    cluster.outlook, cluster.may_change = WARM, False
    steps = cluster.run(2 * 3600)
    assert cluster.agenda.trouble == "HTTP 403: no", "reading it proves nothing"
    assert sum(isinstance(step, Change) for step in steps) < 25
    late = [now for now, step in cluster.asked if isinstance(step, Change)][-4:]
    assert all(b - a > 400 for a, b in pairwise(late))
    cluster.may_change = True
    cluster.run(800)
    assert cluster.node.taints == {FOREIGN}
    assert cluster.agenda.trouble == ""


@pytest.mark.parametrize("wish", [BOTH, Wish(TAINT, "", PREFIX, 3), Wish("", "", PREFIX, 3)])
def test_what_is_undone_at_once_is_not_done_over_and_over(wish: Wish) -> None:
    cluster = Cluster(wish)
    cluster.outlook, cluster.warm, cluster.stubborn = WARM, ["a"], True
    cluster.run(3600)
    assert len(cluster.asked) < 300
    assert "undone at once" in cluster.agenda.trouble
    cluster.stubborn = False
    cluster.run(200)
    assert cluster.node.labels == {"zone": "a", f"{PREFIX}a": "warm"}
    assert (cluster.agenda.trouble, bool(cluster.decider.record.opened)) == ("", True)


def test_labels_alone_are_refused_as_slowly() -> None:
    cluster = Cluster(Wish("", "", PREFIX, 3))
    cluster.outlook, cluster.warm, cluster.may_change = WARM, ["a"], False
    cluster.run(60)
    assert cluster.decider.record.opened is Reason.WARM
    cluster.run(2 * 3600)
    assert len([1 for _, step in cluster.asked if isinstance(step, Change)]) < 25
    assert cluster.agenda.trouble


def test_it_waits_for_as_long_as_the_server_wants() -> None:
    cluster = Cluster()
    cluster.down = Unanswered("HTTP 429", after=300)
    cluster.run(20)
    assert len(cluster.asked) == 1
    cluster.run(270)
    assert len(cluster.asked) == 1


def test_a_deadline_that_passes_while_nobody_answers_holds() -> None:
    cluster = Cluster()
    cluster.down = DOWN
    cluster.run(DEADLINE + 100)
    cluster.down, cluster.outlook = None, AWAY
    cluster.run(100)
    assert cluster.decider.record.opened is Reason.DEADLINE


def test_labels_change_once_in_a_while_however_often_models_do() -> None:
    cluster = Cluster()
    cluster.outlook = WARM
    cluster.run(60)
    before = len(cluster.asked)
    for number in range(3600):
        cluster.warm = [f"m{number}"]
        cluster.run(1)
    changes = [step for _, step in cluster.asked[before:] if isinstance(step, Change)]
    assert 60 <= len(changes) <= 120
    cluster.run(60)
    assert cluster.node.labels == {"zone": "a", f"{PREFIX}m3599": "warm"}


def test_labels_that_somebody_took_away_come_again() -> None:
    cluster = Cluster()
    cluster.outlook, cluster.warm = WARM, ["a"]
    cluster.run(60)
    cluster.node = replace(cluster.node, labels={})
    cluster.run(1300)
    assert cluster.node.labels == {f"{PREFIX}a": "warm"}


def test_a_thousand_nodes_do_not_ask_at_once() -> None:
    """All boot, get warm, and see another catalog at the same moments."""
    per_second: dict[int, int] = {}
    for seed in range(1000):
        cluster = Cluster(seed=seed)
        cluster.run(60)
        cluster.outlook, cluster.warm = WARM, ["a"]
        cluster.run(400)
        cluster.warm = ["a", "b"]
        cluster.run(400)
        assert len(cluster.asked) <= 6, "a read, closed, open, taint, labels, and perhaps a second look"
        for now, step in cluster.asked:
            assert isinstance(step, Read) or cluster.node.labels
            per_second[int(now)] = per_second.get(int(now), 0) + 1
    assert max(per_second.values()) < 500


class Anything(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.before = self.cluster.node
        self.opened: set[tuple[str, str]] = set()

    @rule(seconds=st.floats(0.1, 900))
    def time_passes(self, seconds: float) -> None:
        self.cluster.run(seconds, self.look)

    def look(self, step: Step) -> None:
        cluster, before = self.cluster, self.before
        self.before = cluster.node
        if isinstance(step, Change):
            assert all(name.startswith(PREFIX) for name in step.labels)
            assert step.without_taint in ("", TAINT)
            assert not step.without_taint or cluster.decider.verdict.open
        if isinstance(step, Report):
            assert step.condition.type == CONDITION
            assert step.condition.true is cluster.decider.verdict.open
            seen = (cluster.boot, cluster.decider.record.node)
            assert step.condition.true or seen not in self.opened, "it never closes again"
        if cluster.decider.record.opened:
            self.opened.add((cluster.boot, cluster.decider.record.node))
        assert len([name for name in cluster.node.labels if name.startswith(PREFIX)]) <= BOTH.most
        assert cluster.node.taints in (before.taints, before.taints - {TAINT})

    @rule(outlook=st.sampled_from([COLD, WARM, AWAY]), warm=st.sets(st.sampled_from("abcdef")))
    def models_come_and_go(self, outlook: object, warm: set[str]) -> None:
        self.cluster.outlook, self.cluster.warm = outlook, sorted(warm)  # type: ignore[assignment]

    @rule(down=st.sampled_from([None, DOWN, Unanswered("HTTP 429", after=7)]), may_change=st.booleans())
    def the_server_comes_and_goes(self, down: Unanswered | None, may_change: bool) -> None:
        self.cluster.down, self.cluster.may_change = down, may_change

    @rule(booted=st.booleans())
    def the_daemon_is_restarted(self, booted: bool) -> None:
        if booted:
            self.cluster.boot += "'"
        self.cluster.begin(self.cluster.decider)

    @rule()
    def the_node_joins_anew(self) -> None:
        self.before = self.cluster.node = joined(self.cluster.node.uid + "'")

    @rule()
    def somebody_changes_it(self) -> None:
        node = self.cluster.node
        self.before = self.cluster.node = replace(
            node, taints=node.taints | {"foreign"}, labels={**node.labels, "theirs": "x"}, conditions={}
        )

    @rule()
    def in_the_end_all_is_as_wanted(self) -> None:
        cluster = self.cluster
        cluster.down, cluster.may_change = None, True
        cluster.outlook, cluster.warm = WARM, ["a", "b"]
        cluster.run(3000, self.look)
        assert {k for k in cluster.node.labels if k.startswith(PREFIX)} == {f"{PREFIX}a", f"{PREFIX}b"}
        assert cluster.node.taints <= {FOREIGN, "foreign"}
        assert cluster.agenda.trouble == ""
        assert cluster.decider.record.opened

    @invariant()
    def the_foreign_taint_is_left(self) -> None:
        assert FOREIGN in self.cluster.node.taints


TestAnything = Anything.TestCase


@given(st.integers(0, 10_000), st.floats(0, 50), st.floats(0, 50))
def test_a_pace_of_nothing_still_rests(seed: int, first: float, second: float) -> None:
    cluster = Cluster(seed=seed, pace=Pace(opening=(0, 0), labels=(1, 1), reread=(5, 5), retry=(1, 1)))
    cluster.run(first)
    cluster.outlook, cluster.warm = WARM, ["a"]
    cluster.run(second + 3)
    assert cluster.node.taints == {FOREIGN}
