"""When a change is told of."""

from __future__ import annotations

from cached.runtime.rest import Rest


def told(states: str) -> str:
    """`!` where each look at these states tells, `.` where it does not."""
    rest = Rest()
    return "".join("!" if rest.look(state) else "." for state in states)


def test_the_first_state_is_told_of_at_rest() -> None:
    assert told("aaaa") == ".!.."


def test_a_burst_is_told_of_once() -> None:
    assert told("aabcdddd") == ".!...!.."


def test_what_never_rests_is_told_of_now_and_then() -> None:
    assert told("aabcdefghijklm") == ".!.....!.....!"


def test_what_was_told_of_in_motion_is_told_of_again_at_rest() -> None:
    assert told("aabcdefgggg") == ".!.....!!.."
    assert told("aabcdefgaaa") == ".!.....!.!."


def test_what_came_back_before_it_was_told_of_is_no_change() -> None:
    assert told("aabaaa") == ".!...."
