"""The pure parts that both clients share."""

from __future__ import annotations

import math
import os
import socket
from pathlib import Path

import pytest
from grpc import StatusCode

from cached._proto.v1.types_pb2 import ErrorDetail
from cached.client.address import candidates, choose, diagnose
from cached.client.errors import Cancelled, DaemonFault, TimedOut, Unreachable, rebuild
from cached.client.grant import Grant, LeaseGrant, same_tree
from cached.client.holds import LONGEST_RETRY, Book, Hold, Verdict
from cached.client.patience import LONGEST_PAUSE, Patience
from cached.core import errors
from cached.core.errors import (
    Busy,
    CachedError,
    Denied,
    Draining,
    InvalidRequest,
    NotFound,
    SourceUnavailable,
)
from cached.serve.api.errors import STATUS, refusal

TREE = "sha256:" + "ab" * 32


def middle() -> float:
    """A jitter that changes nothing."""
    return 0.5


@pytest.mark.parametrize("kind", STATUS)
def test_every_error_makes_the_round_trip(kind: type[CachedError]) -> None:
    if kind is errors.NoSpace:
        error: CachedError = errors.NoSpace("full", needed=3, free=1, held=2, hint="wait")
    else:
        error = kind("what happened", hint="what to do")
    said = refusal(error, "Acquire")
    back = rebuild(said.code, said.text, said.metadata)
    assert type(back) is kind
    assert vars(back) == vars(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.NOT_FOUND, NotFound),
        (StatusCode.ABORTED, Busy),
        (StatusCode.UNAVAILABLE, SourceUnavailable),
        (StatusCode.INTERNAL, DaemonFault),
        (StatusCode.UNKNOWN, DaemonFault),
    ],
)
def test_a_reason_from_the_future_goes_by_its_code(code: StatusCode, kind: type[CachedError]) -> None:
    detail = ErrorDetail(reason="PeerSulks", message="a peer sulks", hint="cheer it up")
    error = rebuild(code, "", [("cached-error-bin", detail.SerializeToString())])
    assert type(error) is kind
    assert (error.message, error.hint) == ("a peer sulks", "cheer it up")


@pytest.mark.parametrize("reason", ["CachedError", "Exception", "annotations", "ClassVar"])
def test_a_reason_names_errors_only(reason: str) -> None:
    detail = ErrorDetail(reason=reason, message="m")
    assert (
        type(rebuild(StatusCode.INTERNAL, "", [("cached-error-bin", detail.SerializeToString())]))
        is DaemonFault
    )


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (StatusCode.UNAVAILABLE, Unreachable),
        (StatusCode.DEADLINE_EXCEEDED, TimedOut),
        (StatusCode.CANCELLED, Cancelled),
        (StatusCode.UNIMPLEMENTED, Denied),
        (StatusCode.RESOURCE_EXHAUSTED, Busy),
        (StatusCode.UNKNOWN, DaemonFault),
    ],
)
def test_what_grpc_itself_says(code: StatusCode, kind: type[CachedError]) -> None:
    assert type(rebuild(code, "text", [("other", "x"), ("cached-error-bin", b"\xff\xff")])) is kind
    assert type(rebuild(code, "", None)) is kind


def test_addresses_in_order(tmp_path: Path) -> None:
    home = {"XDG_CACHE_HOME": "/x"}
    assert candidates("unix:/a", environ={"CACHED_ADDRESS": "/b"}) == (Path("/a"),)
    assert candidates("unix:///a") == candidates("/a") == (Path("/a"),)
    assert candidates(environ={"CACHED_ADDRESS": "unix:/b"}, operator=True) == (Path("/b"),)
    assert candidates(environ=home) == (
        Path("/run/cached/pods/cached.sock"),
        Path("/x/cached/run/pods/cached.sock"),
    )
    assert candidates(environ=home, operator=True) == (
        Path("/run/cached/operator/cached.sock"),
        Path("/x/cached/run/operator/cached.sock"),
        Path("/run/cached/pods/cached.sock"),
        Path("/x/cached/run/pods/cached.sock"),
    )
    assert candidates(environ={})[1] == Path.home() / ".cache/cached/run/pods/cached.sock"
    there = tmp_path / "there"
    there.touch()
    assert choose((tmp_path / "nix", there)) == there
    with pytest.raises(Unreachable, match=r"nix or .*nada"):
        choose((tmp_path / "nix", tmp_path / "nada"))


@pytest.mark.parametrize("bad", ["localhost:5000", "unix:relative", "http://x", "/a\0b", "/" + "x" * 107])
def test_what_is_no_address(bad: str) -> None:
    with pytest.raises(InvalidRequest):
        candidates(bad)


def test_a_socket_tells_why_it_does_not_answer(tmp_path: Path) -> None:
    path = Path(os.path.relpath(tmp_path)) / "s"  # absolute, it may be too long to bind
    assert "there is no socket" in diagnose(path).message
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
        assert "nobody listens" in diagnose(path).message
        dead.listen()
        assert "broke" in diagnose(path).message


def test_patience_lasts_as_long_as_the_timeout() -> None:
    patience = Patience(100.0, 10.0, 1.0, middle)
    assert patience.left(103.0) == 7.0
    pauses = [patience.pause(Unreachable("x"), 101.0) for _ in range(8)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]
    assert patience.pause(Unreachable("x"), 109.5) is None
    assert patience.left(111.0) == 0.0


def test_patience_without_a_timeout_counts_from_the_last_word() -> None:
    patience = Patience(100.0, None, 5.0, middle)
    assert patience.left(500.0) is None
    assert patience.pause(Unreachable("x"), 105.0) is None
    patience.heard(1000.0)
    assert patience.pause(Draining("x"), 1004.0) == 0.05


@pytest.mark.parametrize("error", [SourceUnavailable("x"), Denied("x"), TimedOut("x"), NotFound("x")])
def test_an_answer_is_final(error: CachedError) -> None:
    assert Patience(0.0, 10.0, 10.0, middle).pause(error, 0.0) is None


def hold(ttl: float = 90.0) -> Hold:
    lease = LeaseGrant("lease-1", 1e9, ttl)
    return Hold("minilm", ttl, "pod", Grant(Path("/t"), TREE, 1, 1, False, "f", lease))


def test_a_hold_is_due_at_a_third_of_its_time() -> None:
    for jitter, due in ((0.0, 127.0), (0.5, 130.0), (1.0, 133.0)):
        book = Book(lambda jitter=jitter: jitter)  # type: ignore[misc]
        held = hold()
        book.add(held, 100.0)
        assert book.next_due() == pytest.approx(due)
        assert book.take_due(due - 0.1) == []
        assert book.take_due(due + 0.1) == [held]
        assert book.take_due(due + 0.1) == []  # it is busy
        assert book.next_due() == math.inf
        assert book.kept(held, LeaseGrant("lease-1", 2e9, 30.0), 200.0)
        assert book.next_due() == pytest.approx(200 + (due - 100) / 3)


def test_failed_renewals_back_off_for_ever() -> None:
    book, held = Book(middle), hold()
    book.add(held, 0.0)
    pauses = []
    for _ in range(40):
        assert book.failed(held, Unreachable("x"), 0.0) is Verdict.RETRY
        pauses.append(book.next_due())
    assert pauses[:4] == [0.25, 0.5, 1.0, 2.0]
    assert pauses[-1] == LONGEST_RETRY
    assert not held.lost


def test_the_back_off_of_a_short_lease_stays_within_it() -> None:
    book, held = Book(middle), hold(ttl=3.0)
    book.add(held, 0.0)
    for _ in range(10):
        book.failed(held, Unreachable("x"), 0.0)
    assert book.next_due() == 1.0


def test_a_lease_that_is_gone_is_got_again_at_once() -> None:
    book, held = Book(middle), hold()
    book.add(held, 0.0)
    assert book.failed(held, NotFound("x"), 50.0) is Verdict.REACQUIRE
    assert (held.gone, held.lost, book.next_due()) == (True, False, 50.0)
    assert book.failed(held, Unreachable("x"), 50.0) is Verdict.RETRY
    assert book.failed(held, SourceUnavailable("x"), 51.0) is Verdict.LOST
    assert book.failed(held, SourceUnavailable("x"), 52.0) is Verdict.RETRY
    assert held.lost
    assert book.kept(held, LeaseGrant("lease-2", 2e9, 90.0), 60.0)
    assert (held.gone, held.lost, held.lease.id) == (False, False, "lease-2")


def test_a_final_no_ends_the_trying() -> None:
    book, held = Book(middle), hold()
    book.add(held, 0.0)
    book.failed(held, NotFound("x"), 0.0)
    assert book.failed(held, NotFound("x"), 0.0) is Verdict.LOST
    assert held.lost
    assert book.next_due() == math.inf


def test_a_hold_given_up_meanwhile_has_no_say() -> None:
    book, held = Book(middle), hold()
    book.add(held, 0.0)
    assert book.remove(held)
    assert not book.remove(held)
    assert book.failed(held, NotFound("x"), 0.0) is None
    assert not book.kept(held, held.lease, 0.0)
    assert book.next_due() == math.inf


def test_the_same_tree_by_another_ref() -> None:
    assert same_tree("minilm", TREE) == f"minilm@{TREE}"
    assert same_tree("minilm@v2", TREE) == f"minilm@{TREE}"
    assert same_tree("minilm@v2?include=*.json", TREE) == f"minilm@{TREE}?include=*.json"
    assert same_tree("minilm@v2?view=hub", TREE) == "minilm@v2?view=hub"
    assert same_tree("s3://bucket/model/", TREE) == "s3://bucket/model/"
