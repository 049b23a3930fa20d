"""Sizes and times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.kit.units import (
    Share,
    parse_bytes,
    parse_bytes_or_share,
    parse_seconds,
    show_bytes,
    show_seconds,
)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("4096", 4096),
        ("10GB", 10**10),
        ("1.5TiB", 3 << 39),
        ("5 gib", 5 << 30),
        ("2M", 2_000_000),
        (7, 7),
    ],
)
def test_sizes(text: str | int, number: int) -> None:
    assert parse_bytes(text) == number


@pytest.mark.parametrize("text", ["", "GiB", "1XB", "1e9", "-1", "1 2", "0x10", "\u0661GiB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)


@pytest.mark.parametrize(("text", "share"), [("20%", 20), ("0 %", 0), (" 12.5% ", 12.5), ("99%", 99)])
def test_shares(text: str, share: float) -> None:
    read = parse_bytes_or_share(text)
    assert read == Share(share)
    assert read.of(1000) == share * 10
    assert parse_bytes_or_share(str(read)) == read


@pytest.mark.parametrize("text", ["100%", "-1%", "%", "1e1%", "20 % of it"])
def test_no_shares(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes_or_share(text)


def test_a_size_is_no_share() -> None:
    assert parse_bytes_or_share("20GB") == 20 * 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("30s", 30), ("1h30m", 5400), ("250ms", 0.25), (1.5, 1.5), ("1d", 86400)],
)
def test_times(text: str | float, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5x", "m5", "5m x", "-1", -1.0, float("nan"), float("inf")])
def test_no_times(text: str | float) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_seconds(text)


@given(st.integers(0, 1 << 60))
def test_shown_sizes_are_short_and_near(number: int) -> None:
    shown = show_bytes(number)
    value, unit = shown.split()
    assert len(value) <= 7
    assert float(value) * {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}[
        unit
    ] == pytest.approx(number, rel=0.06, abs=0.5)


def test_shown_times() -> None:
    assert [show_seconds(s) for s in (0.26, 42, 185, 7800)] == ["0.3s", "42s", "3m05s", "2h10m"]
