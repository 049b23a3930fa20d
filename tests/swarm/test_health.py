"""Whom to leave alone, and for how long."""

from __future__ import annotations

from cached.swarm.health import Health

A = "10.0.0.1:7400"


def test_who_fails_again_and_again_is_left_alone_for_longer_each_time() -> None:
    health = Health()
    assert health.failed(0.0, A) == 1.0
    assert health.failed(0.5, A) == 0.5, "it is set aside already"
    assert not health.trusted(1.5, A), "it may be asked, but has to make good"
    assert health.usable_from(A) <= 1.5
    assert health.failed(1.5, A) == 2.0
    assert [health.failed(1000.0 * number, A) for number in range(1, 8)][-1] == 60.0


def test_a_success_ends_the_wait_at_once() -> None:
    """What was asked before it was set aside came after all."""
    health = Health()
    health.failed(0.0, A)
    health.good(A)
    assert health.trusted(0.1, A)
    assert health.failed(0.1, A) == 1.0


def test_it_is_of_no_use_when_it_fails_once_more_after_it_was_set_aside() -> None:
    health = Health()
    health.failed(0.0, A)
    assert not health.fails(0.1, A)
    health.failed(1.0, A)
    assert health.fails(9.0, A), "until it makes good"
    health.good(A)
    assert not health.fails(9.0, A)
    health.lied(9.0, A)
    assert health.fails(9.1, A)


def test_nothing_but_time_ends_a_ban() -> None:
    health = Health()
    assert health.lied(0.0, A) == 60.0
    health.failed(1.0, A)
    health.good(A)
    assert not health.trusted(59.0, A)
    assert health.banned(59.0, A)
    assert health.trusted(60.0, A)
    assert health.lied(61.0, A) == 120.0
