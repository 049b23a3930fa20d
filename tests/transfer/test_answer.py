"""What each answer of a source means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.errors import (
    CachedError,
    Denied,
    NotConfigured,
    NotFound,
    SourceChanged,
    SourceUnavailable,
)
from cached.transfer.answer import Answer, Follow, Refused, Take, Whole, judge
from cached.transfer.answer import Wanted as Range
from cached.transfer.retry import Failed

WANTED = Range("s3://b/k", offset=100, length=50, size=1000, etag='"abc"')
RANGE = "bytes 100-149/1000"


def partial(**headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(206, {"content-range": RANGE, "etag": '"abc"', **named}, 50)


def failure(status: int, code: str = "", message: str = "", **headers: str) -> Answer:
    body = f"<?xml?><Error><Code>{code}</Code><Message>{message}</Message><Key>secret</Key></Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, named, len(body), body.encode() if code else b"")


def test_exactly_the_range_is_taken() -> None:
    assert judge(partial(), WANTED, 0) == Take()
    assert judge(partial(etag="abc"), WANTED, 0) == Take()
    assert judge(partial(content_range="bytes 100-149/*"), WANTED, 0) == Take()
    assert judge(Answer(206, {"content-range": RANGE}, 50), WANTED, 0) == Take()
    assert judge(partial(content_encoding="aws-chunked"), WANTED, 0) == Take()


@given(
    first=st.integers(0, 2000),
    last=st.integers(0, 2000),
    total=st.integers(0, 2000),
    length=st.integers(0, 99),
)
def test_no_other_range_is_ever_taken(first: int, last: int, total: int, length: int) -> None:
    answer = Answer(206, {"content-range": f"bytes {first}-{last}/{total}"}, length)
    if (first, last, total, length) == (100, 149, 1000, 50):
        assert judge(answer, WANTED, 0) == Take()
    else:
        with pytest.raises(SourceChanged if total != 1000 else Failed):
            judge(answer, WANTED, 0)


@pytest.mark.parametrize("said", ["", "bytes 100-149", "items 100-149/1000", "bytes */1000"])
def test_a_206_that_does_not_say_which_range_is_not_trusted(said: str) -> None:
    with pytest.raises(Failed):
        judge(partial(content_range=said), WANTED, 0)


def test_a_range_of_unknown_or_other_length_is_not_trusted() -> None:
    for length in (None, 49, 51):
        with pytest.raises(Failed):
            judge(Answer(206, {"content-range": RANGE}, length), WANTED, 0)


def test_another_etag_or_size_means_that_the_file_changed() -> None:
    for answer in (
        partial(etag='"new"'),
        partial(content_range="bytes 100-149/1001"),
        Answer(200, {"etag": '"new"'}, 1000),
        Answer(200, {}, 1001),
        failure(412, "PreconditionFailed"),
        failure(416, "InvalidRange"),
    ):
        with pytest.raises(SourceChanged, match="s3://b/k"):
            judge(answer, WANTED, 0)


def test_a_server_without_ranges_sends_the_whole() -> None:
    assert judge(Answer(200, {}, 1000), WANTED, 0) == Whole()
    whole = Range("u", 0, 1000, 1000)
    assert judge(Answer(200, {}, 1000), whole, 0) == Take()
    assert judge(Answer(200, {}, 1000), Range("u", 0, 1000, 1000, ranged=False), 0) == Take()
    with pytest.raises(Failed):
        judge(
            Answer(206, {"content-range": "bytes 0-999/1000"}, 1000),
            Range("u", 0, 1000, 1000, ranged=False),
            0,
        )
    with pytest.raises(SourceUnavailable, match="without ranges and without a Content-Length"):
        judge(Answer(200, {"transfer-encoding": "chunked"}, None), WANTED, 0)
    with pytest.raises(Failed):  # as when the server died in the middle of the head
        judge(Answer(200, {}, None), WANTED, 0)


@pytest.mark.parametrize("encoding", ["gzip", "zstd", "GZIP", "gzip, aws-chunked"])
def test_encoded_bytes_are_refused(encoding: str) -> None:
    with pytest.raises(SourceUnavailable, match="Content-Encoding"):
        judge(partial(content_encoding=encoding), WANTED, 0)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    assert judge(Answer(status, {"location": "/x"}, 0), WANTED, 0) == Follow("/x")
    with pytest.raises(NotConfigured, match="eu-west-1"):
        judge(Answer(status, {"x-amz-bucket-region": "eu-west-1"}, 0), WANTED, 0)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_when_the_server_says(status: int) -> None:
    with pytest.raises(Failed, match=f"answered {status} SlowDown") as failed:
        judge(failure(status, "SlowDown", retry_after="7"), WANTED, 0)
    assert failed.value.after == 7
    with pytest.raises(Failed) as failed:
        judge(failure(status), WANTED, 0)
    assert failed.value.after is None


@pytest.mark.parametrize(
    ("answer", "expired"),
    [
        (failure(403, "AccessDenied"), False),
        (failure(403, "AccessDenied", "Request has expired"), True),
        (failure(400, "ExpiredToken"), True),
        (failure(403, "ExpiredToken"), True),
        (failure(403, "SignatureDoesNotMatch", "the string to sign was Request has expired"), False),
        (failure(400, "InvalidToken"), False),
        (failure(403), False),
        (failure(401), True),
    ],
)
def test_refusals_say_the_code_and_whether_time_is_to_blame(answer: Answer, expired: bool) -> None:
    verdict = judge(answer, WANTED, 0)
    assert isinstance(verdict, Refused)
    assert verdict.expired is expired
    assert isinstance(verdict.error, Denied)
    assert "s3://b/k" in str(verdict.error)
    assert str(answer.status) in str(verdict.error)
    assert "secret" not in str(verdict.error)


def test_a_wrong_clock_is_called_one() -> None:
    verdict = judge(failure(403, "RequestTimeTooSkewed"), WANTED, 0)
    assert isinstance(verdict, Refused)
    assert "clock" in verdict.error.hint


@pytest.mark.parametrize(("status", "kind"), [(404, NotFound), (410, NotFound), (405, SourceUnavailable)])
def test_the_rest_is_final(status: int, kind: type[CachedError]) -> None:
    with pytest.raises(kind, match=f"answered {status} SomeCode"):
        judge(failure(status, "SomeCode"), WANTED, 0)


@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(
        st.sampled_from(["content-range", "etag", "location", "retry-after", "content-encoding"]), st.text()
    ),
    length=st.none() | st.integers(0, 2000),
    body=st.binary(),
)
def test_no_answer_is_beyond_judgement(
    status: int, headers: dict[str, str], length: int | None, body: bytes
) -> None:
    try:
        verdict = judge(Answer(status, headers, length, body), WANTED, 0)
    except (Failed, CachedError):
        return
    assert isinstance(verdict, Take | Whole | Follow | Refused)
