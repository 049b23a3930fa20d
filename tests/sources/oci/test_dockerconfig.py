"""Docker's configuration, as it is written and as it might be."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.sources.oci.dockerconfig import DockerConfig, Unusable, host_of
from cached.sources.oci.secret import Secret

ANN = Secret("ann", "s3cr:t")


def auth(text: str) -> str:
    return b64encode(text.encode()).decode()


def read(said: Any) -> DockerConfig:
    return DockerConfig.parse(json.dumps(said).encode())


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("r.example", "r.example"),
        ("R.example:5000", "r.example:5000"),
        ("https://r.example", "r.example"),
        ("http://r.example:5000/v2/", "r.example:5000"),
        ("r.example/v1/", "r.example"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("docker.io", "docker.io"),
    ],
)
def test_keys_name_hosts(key: str, host: str) -> None:
    assert host_of(key) == host
    assert read({"auths": {key: {"auth": auth("ann:s3cr:t")}}}).secret(host) == ANN


@pytest.mark.parametrize(
    ("entry", "secret"),
    [
        ({"auth": auth("ann:s3cr:t")}, ANN),
        ({"auth": auth("ann:s3cr:t").rstrip("=")}, ANN),
        ({"auth": auth("ann:s3cr:t\0")}, ANN),
        ({"username": "ann", "password": "s3cr:t"}, ANN),
        ({"username": "ann", "password": "s3cr:t", "auth": "", "email": "a@b"}, ANN),
        ({"username": "other", "password": "other", "auth": auth("ann:s3cr:t")}, ANN),
        ({"auth": auth("ann:"), "identitytoken": "id"}, Secret("ann", "", identity="id")),
        ({"registrytoken": "reg"}, Secret(registry="reg")),
        ({"username": "ann"}, None),
        ({"auth": None}, None),
        ({}, None),
        (None, None),
    ],
)
def test_entries(entry: Any, secret: Secret | None) -> None:
    assert read({"auths": {"r.example": entry}}).secret("r.example") == secret
    assert read({"auths": {"r.example": entry}}).secret("r.example:5000") is None


def test_the_shortest_key_of_a_host_counts() -> None:
    above = "https://index.docker.io/v1/"
    keys = [f"{above}refresh-token", above, f"{above}access-token"]
    for order in (keys, keys[::-1]):
        said = {key: {"username": "ann", "password": key} for key in order}
        assert read({"auths": said}).secret("docker.io") == Secret("ann", above)


def test_a_dockercfg_has_the_entries_alone() -> None:
    assert (
        read({"https://r.example/v1/": {"auth": auth("ann:s3cr:t")}, "note": "x"}).secret("r.example") == ANN
    )
    assert read({}).secret("r.example") is None


def test_helpers() -> None:
    said = read(
        {"credsStore": "store", "credHelpers": {"https://r.example": "ecr-login", "other.example": ""}}
    )
    assert [said.helper(host) for host in ("r.example", "other.example", "docker.io")] == [
        "ecr-login",
        "store",
        "store",
    ]
    assert read({"auths": {}}).helper("r.example") == ""


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b"s3cr:t", b"\xff", b"[" * 100_000, b'{"auths": [1]}', b'{"credHelpers": "x"}'],
)
def test_files_that_make_no_sense(data: bytes) -> None:
    with pytest.raises(Unusable) as raised:
        DockerConfig.parse(data)
    assert "s3cr:t" not in str(raised.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"auth": "s3cr:t"},
        {"auth": auth("s3cr")},
        {"auth": b64encode(b"ann:\xff").decode()},
        {"auth": auth("ann:s3cr\r\nX-Evil: 1")},
        {"username": "ann", "password": "s3cr\nt"},
        {"username": ["ann"], "password": "s3cr"},
        {"identitytoken": 7},
        "s3cr",
    ],
)
def test_an_entry_that_makes_no_sense_hinders_no_other(entry: Any) -> None:
    said = read({"auths": {"bad.example": entry, "r.example": {"auth": auth("ann:s3cr:t")}}})
    assert said.secret("r.example") == ANN
    with pytest.raises(Unusable, match=r"bad\.example") as raised:
        said.secret("bad.example")
    assert "s3cr" not in str(raised.value)


@pytest.mark.parametrize("name", ["../../bin/sh", "a/b", "-x", "a b", 7, "x" * 65])
def test_a_helper_is_the_name_of_a_program_and_no_more(name: Any) -> None:
    with pytest.raises(Unusable, match="helper"):
        read({"credHelpers": {"r.example": name}}).helper("r.example")


def test_secrets_are_not_shown() -> None:
    assert "s3cr" not in repr(ANN)
    assert "s3cr" not in repr(read({"auths": {"r.example": {"username": "ann", "password": "s3cr"}}}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_whatever_it_says_it_is_read_or_refused(entry: Any) -> None:
    try:
        found = read({"auths": {"r.example": entry}}).secret("r.example")
    except Unusable:
        return
    assert found is None or found.basic or found.identity or found.registry
