"""How errors look to pullers."""

from __future__ import annotations

import inspect
import json
import logging

import pytest

from cached.core import errors
from cached.core.errors import CachedError, Corrupt, Denied, NoSpace, NotFound, Unauthenticated
from cached.serve.mirror.refusal import STATUS, refusal

LEAVES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, CachedError) and not kind.__subclasses__() and kind is not CachedError
]
CHALLENGE = 'Bearer realm="https://auth.example/token",service="registry.example"'


@pytest.mark.parametrize("kind", LEAVES)
def test_every_leaf_has_a_row_of_its_own(kind: type[CachedError]) -> None:
    assert kind in STATUS


def test_nothing_that_goes_wrong_here_is_anything_but_a_miss() -> None:
    """What makes a runtime ask again, or give up, is never said."""
    others = {kind.__name__: status for kind, (status, _) in STATUS.items() if status != 404}
    assert others == {"InvalidRequest": 400, "Unauthenticated": 401}


def test_what_is_missing_is_named() -> None:
    refused = refusal(NotFound("no blob", hint="push it"), "BLOB_UNKNOWN")
    assert (refused.status, refused.code, refused.message) == (404, "BLOB_UNKNOWN", "no blob (push it)")
    assert json.loads(refused.body) == {"errors": [{"code": "BLOB_UNKNOWN", "message": "no blob (push it)"}]}


def test_a_challenge_is_passed_on_as_it_is() -> None:
    refused = refusal(Unauthenticated("say who you are", challenge=CHALLENGE), "X")
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
    assert refused.headers == {"WWW-Authenticate": CHALLENGE}


def test_a_401_without_a_challenge_is_none() -> None:
    refused = refusal(Unauthenticated("the node's own password is wrong"), "X")
    assert (refused.status, refused.code, refused.headers) == (404, "DENIED", {})


def test_what_is_denied_sounds_like_a_miss_to_a_runtime_and_not_to_people() -> None:
    refused = refusal(Denied("not for you"), "X")
    assert (refused.status, refused.code, refused.message) == (404, "DENIED", "not for you")


def test_a_more_special_error_falls_under_its_ancestors_row() -> None:
    assert refusal(type("Gone", (NotFound,), {})("gone"), "MANIFEST_UNKNOWN").code == "MANIFEST_UNKNOWN"
    assert refusal(type("New", (CachedError,), {})("new"), "MANIFEST_UNKNOWN").status == 404


def test_a_group_of_one_is_that_one() -> None:
    full = NoSpace("no room", needed=9, free=1, held=8)
    assert refusal(ExceptionGroup("a", [ExceptionGroup("b", [full])]), "X").message == "no room"


@pytest.mark.parametrize(
    "bug", [KeyError("secret"), ExceptionGroup("two", [NotFound("secret"), Corrupt("secret")])]
)
def test_a_bug_is_masked_and_found_by_its_reference(bug: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        refused = refusal(bug, "X")
    assert (refused.status, refused.code) == (404, "UNKNOWN")
    assert b"secret" not in refused.body
    [record] = caplog.records
    assert vars(record)["reference"] in refused.message
    assert record.exc_info
    assert record.exc_info[1] is bug


def test_whatever_an_error_says_is_short_json() -> None:
    refused = refusal(NotFound('"\udcff\0\n' + "名" * 50_000), "X")
    [said] = json.loads(refused.body.decode("ascii"))["errors"]
    assert 900 < len(said["message"]) <= 1000
