"""Ranges: what RFC 9110 lets be asked for, and whatever else may be written."""

from __future__ import annotations

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.serve.mirror.ranges import Span, Unsatisfiable, asked

ETAG = '"sha256:aa"'


def one(said: str | None, size: int = 1000, if_range: str | None = None) -> Span | None:
    return asked(said, if_range, ETAG, size)


@pytest.mark.parametrize(
    ("said", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=0-", Span(0, 1000)),
        ("bytes=10-19", Span(10, 10)),
        ("bytes=990-", Span(990, 10)),
        ("bytes=990-5000", Span(990, 10)),
        ("bytes=999-999", Span(999, 1)),
        ("bytes=0-" + "9" * 4000, Span(0, 1000)),
        ("bytes=-10", Span(990, 10)),
        ("bytes=-1000", Span(0, 1000)),
        ("bytes=-1001", Span(0, 1000)),
        ("bytes=-" + "9" * 4000, Span(0, 1000)),
        ("bytes=00010-00019", Span(10, 10)),
        ("Bytes=1-2", Span(1, 2)),
        ("bytes= 1-2 ,", Span(1, 2)),
        ("bytes=,,\t1-2", Span(1, 2)),
    ],
)
def test_a_range(said: str, span: Span) -> None:
    assert one(said) == span


@pytest.mark.parametrize(
    "said", ["bytes=1000-", "bytes=1000-1000", "bytes=5-4", "bytes=-0", "bytes=" + "9" * 4000 + "-"]
)
def test_nothing_lies_within(said: str) -> None:
    with pytest.raises(Unsatisfiable):
        one(said)


@pytest.mark.parametrize(
    "said",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=--1",
        "bytes=1--2",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=1-+2",
        "bytes=0x1-0x2",
        "bytes=1_0-2_0",
        "bytes=1 - 2",
        "bytes=\u0661-\u0662",
        "bytes=a-b",
        "bytes=1-2;x",
        "bytes =1-2",
        "bytes:1-2",
        "bytes=1-2,4-5",
        "bytes=1-2, -5",
        "chunks=1-2",
        "1-2",
        "=1-2",
    ],
)
def test_all_is_sent(said: str | None) -> None:
    """Several ranges, other units, and what is no range at all are passed over."""
    assert one(said) is None


def test_a_range_for_another_version_is_passed_over() -> None:
    assert one("bytes=1-2", if_range=ETAG) == Span(1, 2)
    assert one("bytes=1-2", if_range=f" {ETAG}\t") == Span(1, 2)
    for other in ('"sha256:bb"', f"W/{ETAG}", "sha256:aa", "", "*", "Wed, 21 Oct 2015 07:28:00 GMT"):
        assert one("bytes=1-2", if_range=other) is None
        assert one("bytes=5000-", if_range=other) is None


@pytest.mark.parametrize("said", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=7-3"])
def test_an_empty_blob_has_no_ranges(said: str) -> None:
    """What reads blobs in parts asks for 0- first, also of an empty one, and takes 416 for a failure."""
    assert one(said, size=0) is None


NUMBERS = st.integers(0, 2**70)


@given(NUMBERS, NUMBERS, st.integers(1, 2**50))
def test_a_range_is_what_it_says_within_the_blob(first: int, last: int, size: int) -> None:
    wanted = range(first, min(last + 1, size))
    try:
        span = one(f"bytes={first}-{last}", size)
    except Unsatisfiable:
        assert not wanted
        return
    assert span is not None
    assert range(span.offset, span.offset + span.length) == wanted


@given(NUMBERS, st.integers(1, 2**50))
def test_an_open_range_is_the_rest_and_a_suffix_the_end(number: int, size: int) -> None:
    try:
        rest = one(f"bytes={number}-", size)
    except Unsatisfiable:
        assert number >= size
    else:
        assert rest == Span(number, size - number)
    if number:
        end = one(f"bytes=-{number}", size)
        assert end == Span(size - min(number, size), min(number, size))


PIECES = ["bytes", "=", "-", ",", " ", "\t", "0", "7", "999", "9" * 30, "Bytes", "\u0663", "\0", "W/", ETAG]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3)).map("".join), st.integers(0, 2000))
def test_whatever_is_said_what_is_sent_lies_within(said: str, size: int) -> None:
    try:
        span = one(said, size)
    except Unsatisfiable:
        return
    if span is not None:
        assert span.offset >= 0
        assert span.length >= 1
        assert span.offset + span.length <= size
        assert re.search("[0-9]", said)


@pytest.mark.parametrize("filler", ["9", ",", " ", "-", "0-0,", "bytes=", "=", "\t,"])
def test_no_range_takes_long_to_read(filler: str) -> None:
    begun = time.process_time()
    for said in (filler * 16000, "bytes=" + filler * 16000, "bytes=1-2" + filler * 16000):
        with suppress(Unsatisfiable):
            one(said)
    assert time.process_time() - begun < 0.5
