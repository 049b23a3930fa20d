"""Every error has an exit code, and every code its meaning."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

import cached.client  # noqa: F401  # defines the errors of the client
from cached.cli import exits
from cached.core.errors import CachedError, Draining, InvalidRequest, NoSpace
from tests.cli.conftest import Ask


def leaves(kind: type[CachedError]) -> Iterator[type[CachedError]]:
    below = kind.__subclasses__()
    for each in below:
        yield from leaves(each)
    if not below:
        yield kind


# What stands outside these rooms is not cachectl's to know: peers' errors never leave the engine.
OURS = sorted(
    {leaf for leaf in leaves(CachedError) if leaf.__module__.startswith(("cached.core", "cached.client"))},
    key=lambda kind: kind.__name__,
)


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_leaf_has_a_code_with_a_meaning(kind: type[CachedError]) -> None:
    assert exits.OF_ERROR[kind.__name__] in exits.MEANING


def test_no_code_is_for_a_class_that_is_gone() -> None:
    assert set(exits.OF_ERROR) == {kind.__name__ for kind in OURS}


def test_codes_are_stable() -> None:
    """Scripts rely on these; a change here is a breaking one."""
    classes = (
        "NotFound Denied NoSpace SourceUnavailable Unreachable TimedOut InUse Corrupt NotVisible Draining"
    )
    assert [exits.OF_ERROR[name] for name in classes.split()] == list(range(3, 13))
    assert (exits.OF_ERROR["RuntimeUnavailable"], exits.UNFIT) == (16, 17)


def test_a_class_of_a_newer_daemon_is_unexpected() -> None:
    assert exits.code_of_reason("NotYetInvented") == exits.UNEXPECTED


def test_code_of() -> None:
    assert exits.code_of(NoSpace("full", needed=1, free=0, held=0)) == 5
    assert exits.code_of(InvalidRequest("no")) == exits.USAGE
    assert exits.code_of(Draining("bye")) == exits.NOT_SERVING


def test_help_tells_all_codes(ask: Ask) -> None:
    told = ask("help", "exit-codes").stdout
    assert {int(code) for code in re.findall(r"^ +(\d+)  \S", told, re.MULTILINE)} == set(exits.MEANING)
