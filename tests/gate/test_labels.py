"""Labels for warm models."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.names import check_model_name
from cached.engine.gate.labels import changes, label_name

PREFIX = "model.cached.dev/"
SYNTAX = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
NAMES = st.from_regex(
    r"[A-Za-z0-9][A-Za-z0-9._-]{0,45}(/[A-Za-z0-9][A-Za-z0-9._-]{0,45}){0,3}", fullmatch=True
)
# Of few letters, so that names come close to each other.
CLOSE = st.from_regex(r"[ab][ab-]{0,3}(/[ab][ab-]{0,3}){0,3}", fullmatch=True)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("minilm", "minilm"),
        ("meta/llama-3.1-70b", "meta--llama-3.1-70b"),
        ("a/b/c/d", "a--b--c--d"),
        ("Org/Model_v1.0", "Org--Model_v1.0"),
        ("a" * 63, "a" * 63),
        ("a--b", "a--b---90827a2e56"),
        ("a-/b", "a---b---032873cd4e"),
        ("ends-", "ends----9b2db42fd3"),
        ("a" * 64, "a" * 50 + "---ffe054fe7a"),
    ],
)
def test_names(model: str, name: str) -> None:
    assert label_name(model) == name


@given(NAMES)
def test_every_model_has_a_label_that_kubernetes_takes(model: str) -> None:
    check_model_name(model)
    assert SYNTAX.match(label_name(model))


@given(st.sets(CLOSE, min_size=2, max_size=2) | st.sets(NAMES, min_size=2, max_size=2))
def test_no_two_models_share_a_label(models: set[str]) -> None:
    assert len(set(map(label_name, models))) == 2


def applied(found: dict[str, str], warm: list[str], most: int) -> dict[str, str]:
    after = dict(found)
    for key, value in changes(found, PREFIX, warm, most).items():
        if value is None:
            del after[key]
        else:
            after[key] = value
    return after


def test_models_come_and_go() -> None:
    others = {"zone": "a", "model.cached.dev/mine": "of somebody else", "cached.dev/node": "true"}
    labels = applied(others, ["a", "b"], 20)
    assert labels == others | {f"{PREFIX}a": "warm", f"{PREFIX}b": "warm"}
    assert changes(labels, PREFIX, ["b", "a"], 20) == {}
    assert applied(labels, ["b", "c/d"], 20) == others | {f"{PREFIX}b": "warm", f"{PREFIX}c--d": "warm"}
    assert applied(labels, [], 20) == others


def test_no_more_than_permitted_and_those_that_matter_first() -> None:
    assert applied({}, ["c", "a", "b"], 2) == {f"{PREFIX}c": "warm", f"{PREFIX}a": "warm"}
    assert applied({f"{PREFIX}a": "warm"}, ["a"], 0) == {}


def test_what_is_told_stays_told_while_it_is_warm() -> None:
    told = {f"{PREFIX}b": "warm", f"{PREFIX}c": "warm"}
    assert changes(told, PREFIX, ["a", "b", "c"], 2) == {}
    assert applied(told, ["a", "c"], 2) == {f"{PREFIX}a": "warm", f"{PREFIX}c": "warm"}
    assert len(applied(told, ["b", "c"], 1)) == 1


KEYS = st.sampled_from(
    [f"{PREFIX}a", f"{PREFIX}b", f"{PREFIX}x", "zone", "cached.dev/node", "model.cached.devx"]
)


@given(
    st.dictionaries(KEYS, st.sampled_from(["warm", "cold"])),
    st.lists(CLOSE, unique=True, max_size=6),
    st.integers(0, 4),
)
def test_rules_that_always_hold(found: dict[str, str], warm: list[str], most: int) -> None:
    after = applied(found, warm, most)
    ours = {key for key, value in after.items() if key.startswith(PREFIX) and value == "warm"}
    assert ours <= {PREFIX + label_name(model) for model in warm}
    assert len(ours) == min(most, len(warm))
    assert {k: v for k, v in after.items() if k not in ours} == {
        k: v for k, v in found.items() if not (k.startswith(PREFIX) and (v == "warm" or k in ours))
    }
    assert changes(after, PREFIX, warm, most) == {}, "once done, nothing is left to do"
