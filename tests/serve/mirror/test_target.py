"""Paths and queries: what of the OCI API is understood, and what is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.errors import InvalidRequest
from cached.core.image import Repository
from cached.serve.mirror.refusal import Refusal
from cached.serve.mirror.target import Kind, Target, read_path, read_query

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/", Target(Kind.BASE)),
        ("/v2", Target(Kind.BASE)),
        ("/v2/a/manifests/latest", Target(Kind.MANIFEST, "a", "latest")),
        ("/v2/a/b/c/manifests/1.0", Target(Kind.MANIFEST, "a/b/c", "1.0")),
        (f"/v2/a/blobs/{DIGEST}", Target(Kind.BLOB, "a", DIGEST)),
        (f"/v2/a/blobs/sha256%3A{HEX}", Target(Kind.BLOB, "a", DIGEST)),
        (f"/v2/a/blobs/sha256%3a{HEX}", Target(Kind.BLOB, "a", DIGEST)),
        (f"/v2/a/referrers/{DIGEST}", Target(Kind.REFERRERS, "a", DIGEST)),
        ("/v2/a/tags/list", Target(Kind.TAGS, "a")),
        ("/v2/manifests/manifests/manifests", Target(Kind.MANIFEST, "manifests", "manifests")),
        ("/v2/a/blobs/tags/list", Target(Kind.TAGS, "a/blobs")),
        ("/v2/v2/manifests/v2", Target(Kind.MANIFEST, "v2", "v2")),
        ("/v2/a/v2/manifests/x", Target(Kind.MANIFEST, "a/v2", "x")),
    ],
)
def test_what_is_understood(path: str, target: Target) -> None:
    assert read_path(path) == target


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/v1/",
        "/v2//",
        "v2/a/manifests/b",
        "//v2/a/manifests/b",
        "/x/v2/a/manifests/b",
        "/V2/a/manifests/b",
        "/v2/_catalog",
        "/v2/manifests/latest",
        "/v2//manifests/latest",
        "/v2/a/manifests/",
        "/v2/a/manifests",
        "/v2/a/tags",
        "/v2/a/tags/list/",
        "/v2/a/blobs/uploads/",
        "/v2/a/blobs/uploads/0123",
        "/v2/a/manifests%2Flatest",
        "/v2/a/%6danifests/latest",
    ],
)
def test_what_is_not_here(path: str) -> None:
    assert read_path(path).kind is Kind.OTHER


@pytest.mark.parametrize(
    ("reference", "status", "code"),
    [
        ("sha256:baddigeststring", 400, "DIGEST_INVALID"),
        (f"sha256:{HEX[:-1]}", 400, "DIGEST_INVALID"),
        (f"sha256:{HEX}0", 400, "DIGEST_INVALID"),
        (f"sha256:{HEX.upper()}", 400, "DIGEST_INVALID"),
        (f"SHA256:{HEX}", 400, "DIGEST_INVALID"),
        (f"{HEX}", 400, "DIGEST_INVALID"),
        ("sha256:", 400, "DIGEST_INVALID"),
        (":", 400, "DIGEST_INVALID"),
        ("sha512:../../etc", 400, "DIGEST_INVALID"),
        (f"sha256:{HEX}%00", 400, "DIGEST_INVALID"),
        (f"sha512:{HEX}{HEX}", 404, "BLOB_UNKNOWN"),
        (f"origin:{HEX}", 404, "BLOB_UNKNOWN"),
        ("sha256+b64u:LCa0a2j_xo", 404, "BLOB_UNKNOWN"),
        (f"blake3:{HEX}", 404, "BLOB_UNKNOWN"),
    ],
)
def test_other_digests(reference: str, status: int, code: str) -> None:
    for target in (Target(Kind.BLOB, "a", reference), Target(Kind.MANIFEST, "a", reference)):
        with pytest.raises(Refusal) as caught:
            _ = target.digest
        assert caught.value.status == status
        assert caught.value.code in (code, code.replace("BLOB", "MANIFEST"))


@pytest.mark.parametrize("tag", ["-a", ".a", "a" * 129, "a%20b", "..", "%2e%2e", "a b", "\u00e4", "a\0"])
def test_other_tags(tag: str) -> None:
    with pytest.raises(Refusal) as caught:
        _ = Target(Kind.MANIFEST, "a", tag).manifest
    assert (caught.value.status, caught.value.code) == (400, "TAG_INVALID")


def test_queries() -> None:
    assert read_query("").namespace == ""
    query = read_query("ns=docker.io&n=5&last=v1%2B&x=")
    assert (query.namespace, query.others) == ("docker.io", {"n": "5", "last": "v1+", "x": ""})
    assert read_query("ns=").namespace == ""


@pytest.mark.parametrize(
    "query", ["ns=a&ns=b", "n=1&n=1", "&".join(f"a{n}=1" for n in range(17)), "ns=%ff", "ns=a&n%73=b"]
)
def test_a_query_that_can_be_read_in_two_ways(query: str) -> None:
    with pytest.raises(Refusal) as caught:
        read_query(query)
    assert caught.value.status == 400


WORDS = ["v2", "manifests", "blobs", "tags", "list", "referrers", "a", "..", ".", "", "%2e%2e", "%2f", "%00"]
WORDS += ["\0", "latest", DIGEST, DIGEST.upper(), "uploads", "\\", "a:b", "@", "~", "\udcff", "http:"]


@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=5)).map(lambda words: "/" + "/".join(words)))
def test_what_passes_is_a_name_and_a_tag_or_digest(path: str) -> None:
    target = read_path(path)
    if target.kind in (Kind.BASE, Kind.OTHER):
        return
    try:
        name = Repository.of("registry.example", target.name).name
        reference = target.manifest if target.kind is Kind.MANIFEST else target.reference
        if target.kind in (Kind.BLOB, Kind.REFERRERS):
            reference = target.digest
    except (InvalidRequest, Refusal):
        return
    assert re.fullmatch("[a-z0-9._/-]+", name)
    assert ".." not in name
    assert not name.startswith("/")
    assert re.fullmatch("[A-Za-z0-9_][A-Za-z0-9._:-]*", reference) or target.kind is Kind.TAGS


@given(st.text(max_size=60))
def test_whatever_is_asked_is_read_or_refused(query: str) -> None:
    try:
        read = read_query(query)
    except Refusal:
        return
    assert "ns" not in read.others
