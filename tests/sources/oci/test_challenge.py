"""How registries say what they want, and how they might lie about it."""

from __future__ import annotations

import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.sources.oci.challenge import Challenge, choose, parse_challenges

HUB = 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'


def parsed(header: str) -> list[tuple[str, dict[str, str]]]:
    return [(each.scheme, dict(each.parameters)) for each in parse_challenges(header)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [("basic", {})]),
        ('Basic realm="a b, c"', [("basic", {"realm": "a b, c"})]),
        ("Bearer REALM=https", [("bearer", {"realm": "https"})]),
        ('Bearer realm = "x" , service= y', [("bearer", {"realm": "x", "service": "y"})]),
        ('Bearer realm="x" service="y"', [("bearer", {"realm": "x", "service": "y"})]),
        (
            'Basic realm="r", Bearer realm="x",scope=""',
            [("basic", {"realm": "r"}), ("bearer", {"realm": "x", "scope": ""})],
        ),
        ('Negotiate, Basic realm="r"', [("negotiate", {}), ("basic", {"realm": "r"})]),
        ('NTLM TlRMTVNTUAAB==, Basic realm="r"', [("ntlm", {}), ("basic", {"realm": "r"})]),
        ('Bearer realm="first",realm="second"', [("bearer", {"realm": "first"})]),
        (r'Basic realm="\r\e\a\l\m"', [("basic", {"realm": "realm"})]),
        (r'Bearer realm="a\"b",service="s"', [("bearer", {"service": "s"})]),
        ('Bearer realm="ü",service="s"', [("bearer", {"service": "s"})]),
        ('Bearer realm="a\tb",service="s"', [("bearer", {"service": "s"})]),
        (f'Bearer realm="{"x" * 1025}",service="s"', [("bearer", {"service": "s"})]),
        ('Bearer realm="never ends', [("bearer", {})]),
        ('"quoted" Bearer realm="x"', []),
        ('Bearer realm="x"; service="y"', [("bearer", {})]),
    ],
)
def test_headers_are_taken_apart(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert parsed(header) == expected


def test_a_token_is_preferred_to_a_password() -> None:
    chosen = choose(f'Digest realm="d", Basic realm="r", {HUB}')
    assert chosen
    assert (chosen.realm, chosen.service) == ("https://auth.docker.io/token", "registry.docker.io")
    assert chosen.scopes == ("repository:a/b:pull,push",)
    assert choose('Bearer service="no realm", Basic realm="r"') == Challenge("basic", {"realm": "r"})
    assert choose('Digest realm="d"') is None


def test_a_challenge_is_written_as_it_is_read() -> None:
    chosen = choose(f'{HUB}, error="insufficient_scope", nonce="of no use"')
    assert str(chosen) == f'{HUB},error="insufficient_scope"'


@pytest.mark.parametrize(
    "header",
    [
        "Bearer " + "a" * 100_000,
        "Bearer " + " " * 100_000 + "x",
        'Bearer realm="' + "\\" * 100_000,
        'Bearer realm="' + 'x" ' * 50_000,
        "Bearer " + "a=b," * 50_000,
        "Basic," * 50_000,
        "Basic " + "=" * 100_000,
        ", \t" * 50_000,
    ],
    ids=range(8),
)
def test_long_headers_take_no_long_time(header: str) -> None:
    began = time.process_time()
    found = list(parse_challenges(header))
    assert time.process_time() - began < 1.0
    assert len(found) <= 8
    assert all(len(each.parameters) <= 16 for each in found)


@given(st.text(st.one_of(st.sampled_from('abBearer realm="\\=,\t '), st.characters()), max_size=200))
def test_whatever_is_said_what_is_passed_on_is_one_short_line(header: str) -> None:
    for challenge in parse_challenges(header):
        said = str(challenge)
        assert said.isascii()
        assert said.isprintable()
        assert len(said) < 8192
        again = list(parse_challenges(said))
        assert [each.scheme for each in again] == [challenge.scheme]
        assert again[0].realm == challenge.realm
        assert str(again[0]) == said


TOKENS = st.text(string.ascii_letters + string.digits + "-._~", min_size=1, max_size=12)
VALUES = st.text([chr(code) for code in range(32, 127)], max_size=40)


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=5)), min_size=1, max_size=8
    )
)
def test_what_anybody_may_write_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(value: str) -> str:
        return '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in said.items())
        for scheme, said in challenges
    )
    kept = [
        (scheme.lower(), {name: value for name, value in said.items() if not {'"', "\\"} & set(value)})
        for scheme, said in challenges
    ]
    assert parsed(header) == kept
