"""When a chunk is asked for again, and when no more."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.errors import SourceUnavailable
from cached.kit.retry_after import retry_after
from cached.transfer.pace import Pace
from cached.transfer.retry import Failed, Patience, backoff

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 120 ", 120),
        ("Sun, 22 Nov 2026 10:00:30 GMT", 30),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
        ("Sunday, 22-Nov-26 10:01:00 GMT", 60),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
        ("Sun, 99 Nov 2026 10:00:30 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_forms(value: str, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


@given(st.integers(0, 10**12))
def test_a_date_means_the_seconds_until_then(ahead: int) -> None:
    ahead %= 10**8
    value = format_datetime(datetime.fromtimestamp(NOW + ahead, UTC), usegmt=True)
    assert retry_after(value, NOW) == ahead


@given(st.text(max_size=40))
def test_whatever_a_server_says_the_answer_is_a_time_or_nothing(value: str) -> None:
    seconds = retry_after(value, NOW)
    assert seconds is None or seconds >= 0


@given(attempt=st.integers(0, 10_000), seed=st.integers(0, 1000))
def test_back_off_grows_is_jittered_and_bounded(attempt: int, seed: int) -> None:
    rng = random.Random(seed)
    delays = [backoff(attempt, rng) for _ in range(20)]
    assert all(0 <= delay <= min(20.0, 0.25 * 2 ** min(attempt, 10)) for delay in delays)
    assert len(set(delays)) > 1


class Game:
    """One fetch against a clock: each attempt takes `lasts`, then waits as told."""

    def __init__(self, give_up_after: float = 60.0) -> None:
        self.patience = Patience("s3://b/k", give_up_after, random.Random(1))
        self.now = 1000.0
        self.failures = 0

    def fail(self, lasts: float = 0.1, after: float | None = None) -> float:
        began, self.now = self.now, self.now + lasts
        delay = self.patience.wait(Failed("status", "it answered 503", after), self.failures, began, self.now)
        self.failures += 1
        self.now += delay
        return delay

    def fail_for(self, times: int) -> None:
        for _ in range(times):
            self.fail()


def test_it_gives_up_without_progress_and_says_why() -> None:
    game = Game()
    with pytest.raises(SourceUnavailable, match=r"s3://b/k: no progress for \d+ s; last: it answered 503"):
        game.fail_for(10_000)
    assert 1000 + 60 - 20 <= game.now <= 1000 + 60 + 1


def test_progress_starts_the_time_anew() -> None:
    game = Game()
    for _ in range(50):
        while game.now < 1000:
            game.fail()
        game.patience.progress(game.now)
        game.fail(lasts=20)
    assert game.now > 1000 + 50 * 20


def test_the_time_of_the_first_attempt_counts_too() -> None:
    game = Game(give_up_after=10)
    with pytest.raises(SourceUnavailable, match="no progress for 11 s"):
        game.fail(lasts=11)


def test_progress_elsewhere_during_an_attempt_counts() -> None:
    game = Game(give_up_after=10)
    game.patience.progress(1009)
    game.fail(lasts=11)


def test_a_server_that_asks_for_too_long_is_given_up_at_once() -> None:
    game = Game()
    assert game.fail(after=7.0) == 7.0
    with pytest.raises(SourceUnavailable, match="asks for 3600 s"):
        game.fail(after=3600.0)


@given(st.lists(st.tuples(st.floats(0.001, 0.9), st.integers(1, 4)), min_size=1, max_size=200))
def test_a_body_that_keeps_the_pace_is_never_cut(steps: list[tuple[float, int]]) -> None:
    pace, now = Pace(0.0, 1.0, 1000), 0.0
    for seconds, times in steps:
        now += seconds
        pace.note(int(times * 1000 * seconds) + 1, now)


@given(
    rate=st.floats(0, 900),
    step=st.floats(0.01, 0.9),
    quick_start=st.integers(0, 100_000),
)
def test_a_drip_is_noticed_within_two_spans_however_well_it_began(
    rate: float, step: float, quick_start: int
) -> None:
    pace = Pace(0.0, 1.0, 1000)
    pace.note(quick_start, 0.01)
    with pytest.raises(Failed):
        _drip(pace, rate, step, until=3.0)


def test_silence_is_called_a_stall_and_a_drip_slow() -> None:
    pace = Pace(0.0, 20.0, 1000)
    pace.note(10**6, 1.0)
    pace.note(0, 20.9)
    with pytest.raises(Failed, match="nothing for 20 s") as stall:
        pace.note(0, 21.0)
    assert stall.value.kind == "stall"
    pace = Pace(0.0, 20.0, 1000)
    with pytest.raises(Failed, match=r"sent 20 bytes in 20\.0 s") as slow:
        _drip(pace, rate=1.0, step=1.0, until=30.0)
    assert slow.value.kind == "slow"


def _drip(pace: Pace, rate: float, step: float, until: float) -> None:
    now, owed = 0.0, 0.0
    while now < until:
        now += step
        owed += rate * step
        pace.note(int(owed), now)
        owed -= int(owed)
