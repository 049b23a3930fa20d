"""When a gate opens, and that it never closes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.engine.gate.decider import Decider, Outlook, Reason, Record

DEADLINE = 600.0
COLD = Outlook(serving=True, wanted=3, missing=("a", "b"))
WARM = Outlook(serving=True, wanted=3)
EMPTY = Outlook(serving=True, wanted=0)
UNKNOWN = Outlook(serving=True, wanted=None)
AWAY = Outlook(serving=False, wanted=3)


def made(record: Record | None = None, boot: str = "boot", now: float = 1000.0) -> Decider:
    return Decider(DEADLINE, boot, record, now)


def test_it_opens_once_all_is_warm() -> None:
    decider = made()
    verdict = decider.look(1001, COLD)
    assert (verdict.open, verdict.why) == (False, "2 of 3 models and images are not warm: a, b")
    verdict = decider.look(1002, WARM)
    assert (verdict.reason, verdict.why) == (Reason.WARM, "3 of 3 models and images are warm")


def test_nothing_to_wait_for_opens_it_at_once() -> None:
    assert made().look(1000, EMPTY).reason is Reason.WARM


@pytest.mark.parametrize(
    ("outlook", "why"),
    [
        (COLD, "the deadline of 600 s has passed, and 2 of 3 models and images were not warm: a, b"),
        (UNKNOWN, "the deadline of 600 s has passed, and no catalog was read that says what is to be warm"),
    ],
)
def test_the_deadline_opens_it_whatever_is_missing(outlook: Outlook, why: str) -> None:
    decider = made()
    assert not decider.look(1599.9, outlook).open
    verdict = decider.look(1600, outlook)
    assert (verdict.reason, verdict.why) == (Reason.DEADLINE, why)


def test_no_deadline_opens_a_node_that_does_not_serve() -> None:
    decider = made()
    assert not decider.look(9999, AWAY).open
    assert decider.look(9999, replace(COLD, serving=True)).reason is Reason.DEADLINE


def test_a_catalog_that_is_not_known_is_not_an_empty_one() -> None:
    assert not made().look(1000, UNKNOWN).open


def test_many_that_are_missing_are_counted() -> None:
    missing = tuple(f"m{number}" for number in range(40))
    why = made().look(1000, Outlook(serving=True, wanted=40, missing=missing)).why
    assert why.endswith("m0, m1, m2, m3, m4 and 35 more")


def test_restarts_do_not_put_the_deadline_off() -> None:
    record = made().record
    for now in range(1100, 1600, 100):
        decider = made(record, now=now)
        assert not decider.look(now, COLD).open
        record = decider.record
    assert made(record, now=1600).look(1600, COLD).reason is Reason.DEADLINE


def test_what_was_opened_stays_open_over_a_restart_and_closes_at_the_next_boot() -> None:
    decider = made()
    decider.meet("node", 1000)
    decider.look(1000, WARM)
    decider.shown()
    assert made(decider.record, now=2000).look(2000, COLD).reason is Reason.WARM
    after = made(decider.record, boot="another", now=5)
    assert not after.look(5, COLD).open
    assert after.opens_in(5) == DEADLINE


def test_what_was_decided_but_never_shown_is_decided_anew() -> None:
    decider = made()
    decider.look(1000, WARM)
    assert not made(decider.record).look(1001, COLD).open


def test_a_node_that_joins_anew_is_closed_and_has_a_deadline_of_its_own() -> None:
    decider = made()
    decider.meet("first", 1000)
    decider.look(1000, WARM)
    decider.shown()
    decider.meet("first", 3000)
    assert decider.look(3000, COLD).open
    decider.meet("second", 5000)
    assert not decider.look(5000, COLD).open
    assert decider.opens_in(5000) == DEADLINE
    assert decider.record == Record("boot", "second", 5000)


def test_the_first_sight_of_the_node_does_not_put_the_deadline_off() -> None:
    decider = made()
    decider.meet("node", 1599)
    assert decider.look(1600, COLD).reason is Reason.DEADLINE


def test_a_record_from_the_future_counts_for_nothing() -> None:
    decider = made(Record("boot", "node", 2000.0, Reason.WARM), now=1000)
    assert not decider.look(1000, COLD).open


OUTLOOKS = st.builds(
    lambda serving, wanted, missing: Outlook(serving, wanted, ("m",) * min(missing, wanted or 0)),
    st.booleans(),
    st.none() | st.integers(0, 3),
    st.integers(0, 3),
)


@given(st.lists(st.tuples(st.floats(0, 400), OUTLOOKS, st.booleans()), max_size=30))
def test_rules_that_always_hold(history: list[tuple[float, Outlook, bool]]) -> None:
    """With restarts in between: open at the first look at which it must be, and from then on."""
    decider, now, due, opened = made(), 1000.0, False, None
    for passed, outlook, restarted in history:
        now += passed
        if restarted:
            if opened:
                decider.shown()
            decider = made(decider.record, now=now)
        verdict = decider.look(now, outlook)
        due = due or (outlook.serving and (outlook.warm or now >= 1000 + DEADLINE))
        assert verdict.open is due
        if opened:
            assert verdict.reason is opened, "why it was opened is history"
        opened = verdict.reason
        assert 0 <= decider.opens_in(now) <= DEADLINE
