"""The pull part of the OCI distribution API, as its conformance suite asks for it, and as containerd does."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Denied, SourceUnavailable, Unauthenticated
from cached.core.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from cached.core.registry import Passed
from tests.serve.mirror.house import House, serving
from tests.serve.mirror.images import HOST
from tests.store.house import until

BLOB_DATA = bytes(range(256)) * 8
MANIFEST_DATA = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []}).encode()
BLOB = Digest.sha256(BLOB_DATA)
EMPTY = Digest.sha256(b"")
MANIFEST = Digest.sha256(MANIFEST_DATA)
STRANGER = Digest.sha256(b"nobody has this")
SHA512 = "sha512:" + "0123456789abcdef" * 8
CHALLENGE = f'Bearer realm="https://auth.example/token",service="{HOST}",scope="repository:team/app:pull"'


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with serving(tmp_path) as house:
        house.images.add_blob(BLOB_DATA)
        house.images.add_blob(b"")
        house.images.add_manifest(MANIFEST_DATA, "latest")
        yield house


def path(kind: str, reference: str, name: str = "team/app") -> str:
    return f"/v2/{name}/{kind}/{reference}"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_base(house: House, method: str) -> None:
    answer = await house.ask("/v2/", method=method)
    assert answer.status == 200
    assert answer.fields["Docker-Distribution-API-Version"] == "registry/2.0"
    assert answer.body == (b"{}" if method == "GET" else b"")


@pytest.mark.parametrize("reference", ["latest", MANIFEST])
async def test_a_manifest(house: House, reference: str) -> None:
    head = await house.ask(path("manifests", reference), method="HEAD")
    got = await house.ask(path("manifests", reference))
    assert (head.status, got.status) == (200, 200)
    assert got.body == MANIFEST_DATA
    for fields in (head.fields, got.fields):
        assert fields["Docker-Content-Digest"] == MANIFEST
        assert fields["Content-Type"] == OCI_MANIFEST
        assert fields["Content-Length"] == str(len(MANIFEST_DATA))
        assert fields["ETag"] == f'"{MANIFEST}"'
        assert "OCI-Namespace" not in fields
    assert [what for what, _, _ in house.images.asked] == ["manifest", "manifest"], "no bytes for a HEAD"


@pytest.mark.parametrize(
    "media_type",
    [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX, "application/vnd.example.artifact+json"],
)
@pytest.mark.parametrize(
    "accept", [None, "*/*", OCI_MANIFEST, f"{DOCKER_MANIFEST}, {DOCKER_INDEX};q=0.5", "text/html", "\t;,=;"]
)
async def test_a_manifest_is_what_it_is_whatever_is_accepted(
    house: House, media_type: str, accept: str | None
) -> None:
    digest = house.images.add_manifest(b"{}", "other", media_type)
    for reference in ("other", digest):
        answer = await house.ask(path("manifests", reference), *([f"Accept: {accept}"] if accept else []))
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.fields["Content-Type"] == media_type


async def test_a_blob(house: House) -> None:
    head = await house.ask(path("blobs", BLOB), method="HEAD")
    got = await house.ask(path("blobs", BLOB))
    assert (head.status, got.status) == (200, 200)
    assert got.body == BLOB_DATA
    for fields in (head.fields, got.fields):
        assert fields["Docker-Content-Digest"] == BLOB
        assert fields["Content-Type"] == "application/octet-stream"
        assert fields["Content-Length"] == "2048"
        assert fields["Accept-Ranges"] == "bytes"
        assert fields["ETag"] == f'"{BLOB}"'
        assert "Content-Range" not in fields


async def test_an_empty_blob(house: House) -> None:
    for method in ("HEAD", "GET"):
        for said in ([], ["Range: bytes=0-"]):
            answer = await house.ask(path("blobs", EMPTY), *said, method=method)
            assert (answer.status, answer.body, answer.fields["Content-Length"]) == (200, b"", "0")
            assert answer.fields["Docker-Content-Digest"] == EMPTY


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=0-", 0, 2047),
    ],
)
async def test_ranges(house: House, said: str, first: int, last: int) -> None:
    answer = await house.ask(path("blobs", BLOB), f"Range: {said}")
    assert answer.status == 206
    assert answer.body == BLOB_DATA[first : last + 1]
    assert answer.fields["Content-Range"] == f"bytes {first}-{last}/2048"
    assert answer.fields["Content-Length"] == str(last + 1 - first)
    assert answer.fields["Docker-Content-Digest"] == BLOB


@pytest.mark.parametrize("said", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=-0"])
async def test_ranges_beyond(house: House, said: str) -> None:
    answer = await house.ask(path("blobs", BLOB), f"Range: {said}")
    assert answer.status == 416
    assert answer.fields["Content-Range"] == "bytes */2048"
    assert answer.error["message"] == "the blob has 2048 bytes"


@pytest.mark.parametrize(
    "said",
    [
        ["Range: bytes=0-1,5-6"],
        ["Range: bytes=0-1", "Range: bytes=5-6"],
        ["Range: lines=0-1"],
        ["Range: x"],
        ["Range: bytes=0-1", 'If-Range: "other"'],
        ["Range: bytes=0-1", "If-Range: Wed, 21 Oct 2015 07:28:00 GMT"],
    ],
)
async def test_all_is_sent(house: House, said: list[str]) -> None:
    answer = await house.ask(path("blobs", BLOB), *said)
    assert (answer.status, answer.body) == (200, BLOB_DATA)


async def test_a_range_of_this_version(house: House) -> None:
    answer = await house.ask(path("blobs", BLOB), "Range: bytes=0-1", f'If-Range: "{BLOB}"')
    assert (answer.status, answer.body) == (206, BLOB_DATA[:2])


async def test_a_head_has_no_range(house: House) -> None:
    answer = await house.ask(path("blobs", BLOB), "Range: bytes=0-1", method="HEAD")
    assert (answer.status, answer.fields["Content-Length"]) == (200, "2048")


@pytest.mark.parametrize("kind", ["blobs", "manifests"])
async def test_preconditions(house: House, kind: str) -> None:
    digest = BLOB if kind == "blobs" else MANIFEST
    for known in (f'"{digest}"', f'"other", W/"{digest}"', "*"):
        answer = await house.ask(path(kind, digest), f"If-None-Match: {known}")
        assert (answer.status, answer.fields["ETag"], answer.body) == (304, f'"{digest}"', b"")
    assert (await house.ask(path(kind, digest), 'If-None-Match: "other"')).status == 200
    assert (await house.ask(path(kind, digest), f'If-Match: "{digest}"')).status == 200
    for wanted in ('"other"', f'W/"{digest}"'):
        assert (await house.ask(path(kind, digest), f"If-Match: {wanted}")).status == 412


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("kind", "reference", "status", "code"),
    [
        ("blobs", STRANGER, 404, "BLOB_UNKNOWN"),
        ("blobs", MANIFEST, 404, "BLOB_UNKNOWN"),
        ("blobs", SHA512, 404, "BLOB_UNKNOWN"),
        ("blobs", "sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("blobs", "latest", 400, "DIGEST_INVALID"),
        ("manifests", STRANGER, 404, "MANIFEST_UNKNOWN"),
        ("manifests", "missing", 404, "MANIFEST_UNKNOWN"),
        ("manifests", SHA512, 404, "MANIFEST_UNKNOWN"),
        ("manifests", "sha256:baddigeststring", 400, "DIGEST_INVALID"),
        ("manifests", ".INVALID_TAG", 400, "TAG_INVALID"),
        ("referrers", "sha256:baddigeststring", 400, "DIGEST_INVALID"),
    ],
)
async def test_misses(house: House, method: str, kind: str, reference: str, status: int, code: str) -> None:
    answer = await house.ask(path(kind, reference), method=method)
    assert answer.status == status
    if method == "GET":
        assert answer.error["code"] == code


async def test_another_repository_does_not_have_it(house: House) -> None:
    for kind, reference in (("blobs", BLOB), ("manifests", "latest"), ("manifests", MANIFEST)):
        assert (await house.ask(path(kind, reference, "team/other"))).status == 404


@pytest.mark.parametrize("name", ["Upper", "a//b", "-a", "a_", "..", "a/../b", "a%2Fb", "x" * 256])
async def test_names(house: House, name: str) -> None:
    answer = await house.ask(path("manifests", "latest", name))
    assert (answer.status, answer.error["code"]) == (400, "NAME_INVALID")
    assert house.images.asked == []


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods(house: House, method: str) -> None:
    for where in ("/v2/", path("manifests", "latest"), "/v2/team/app/blobs/uploads/", "/nowhere"):
        answer = await house.ask(where, method=method)
        assert (answer.status, answer.error["code"]) == (405, "UNSUPPORTED")
        assert answer.fields["Allow"] == "GET, HEAD"
    assert house.images.asked == []


@pytest.mark.parametrize("where", ["/", "/v1/", "/v2/_catalog", "/v2/team/app/blobs/uploads/", "/metrics"])
async def test_other_paths(house: House, where: str) -> None:
    answer = await house.ask(where)
    assert (answer.status, answer.error["code"]) == (404, "UNSUPPORTED")


async def test_a_namespace_is_echoed(house: House) -> None:
    for where in (path("manifests", "latest"), path("blobs", BLOB), path("blobs", EMPTY)):
        for method in ("GET", "HEAD"):
            answer = await house.ask(f"{where}?ns={HOST}", method=method)
            assert (answer.status, answer.fields["OCI-Namespace"]) == (200, HOST)


@pytest.mark.parametrize("ns", ["docker.io", "169.254.169.254", "a%0d%0ab", "%00", "..%2f", "x" * 300])
async def test_another_namespace_is_a_miss(house: House, ns: str) -> None:
    answer = await house.ask(f"{path('manifests', 'latest')}?ns={ns}")
    assert answer.status in (400, 404)
    assert "OCI-Namespace" not in answer.fields
    assert house.images.asked == []


async def test_nothing_is_encoded_whatever_is_accepted(house: House) -> None:
    said = "Accept-Encoding: zstd;q=1.0, gzip;q=0.8, deflate;q=0.5"
    for where, data in ((path("manifests", "latest"), MANIFEST_DATA), (path("blobs", BLOB), BLOB_DATA)):
        answer = await house.ask(where, said)
        assert "Content-Encoding" not in answer.fields
        assert answer.body == data


async def test_a_challenge_reaches_the_puller_and_its_answer_the_engine(house: House) -> None:
    house.images.error = Unauthenticated("prove that you may", challenge=CHALLENGE)
    for where in (path("manifests", "latest"), path("blobs", BLOB)):
        answer = await house.ask(where)
        assert (answer.status, answer.error["code"]) == (401, "UNAUTHORIZED")
        assert answer.fields["WWW-Authenticate"] == CHALLENGE
        assert (await house.ask(where, method="HEAD")).fields["WWW-Authenticate"] == CHALLENGE
    house.images.error = None
    assert (await house.ask(path("blobs", BLOB), "Authorization: Bearer s3cr3t")).status == 200
    pulls = [pull for _, pull, _ in house.images.asked[-2:]]
    assert [pull.authorization for pull in pulls] == ["Bearer s3cr3t"] * 2
    assert "s3cr3t" not in repr(pulls)


@pytest.mark.parametrize("error", [Denied("not yours"), SourceUnavailable("it is down"), KeyError("bug")])
async def test_trouble_is_a_miss(house: House, error: Exception) -> None:
    house.images.error = error
    for kind, reference in (("manifests", "latest"), ("blobs", BLOB), ("referrers", MANIFEST)):
        answer = await house.ask(path(kind, reference))
        assert answer.status == 404
        assert "bug" not in answer.error["message"]


async def test_a_stale_tag_says_so(house: House) -> None:
    house.images.add_manifest(MANIFEST_DATA, "old", stale=True)
    for method in ("GET", "HEAD"):
        answer = await house.ask(path("manifests", "old"), method=method)
        assert answer.status == 200
        assert answer.fields["Warning"].startswith('299 - "')
    assert "Warning" not in (await house.ask(path("manifests", "latest"))).fields


async def test_tags(house: House) -> None:
    body = b'{"name":"team/app","tags":["latest"]}'
    house.images.lists["tags/list"] = Passed(
        200,
        {
            "content-type": "application/json; charset=utf-8",
            "Link": '</v2/team/app/tags/list?last=v%2B1&n=1>; rel="next"',
            "Set-Cookie": "a=b",
            "Content-Encoding": "gzip",
        },
        body,
    )
    answer = await house.ask(f"/v2/team/app/tags/list?n=1&ns={HOST}&other=x&last=a")
    assert (answer.status, answer.body) == (200, body)
    assert answer.fields["Content-Type"] == "application/json; charset=utf-8"
    assert answer.fields["Link"] == f'</v2/team/app/tags/list?last=v%2B1&n=1&ns={HOST}>; rel="next"'
    assert answer.fields["OCI-Namespace"] == HOST
    assert "Set-Cookie" not in answer.fields
    assert house.images.queries == [{"n": "1", "last": "a"}]


async def test_where_a_list_goes_on_is_not_the_registrys_to_say(house: House) -> None:
    for said, given in [
        (
            '<https://evil.example/x?n=1&last=b>; rel="next"',
            '</v2/team/app/tags/list?n=1&last=b>; rel="next"',
        ),
        ("</v2/team/app/tags/list?last=b>;rel=next", '</v2/team/app/tags/list?last=b>; rel="next"'),
        ("<x>; rel=prev", None),
        ("nonsense", None),
        ("<http://[>; rel=next", None),
    ]:
        house.images.lists["tags/list"] = Passed(200, {"Link": said}, b"{}")
        assert (await house.ask("/v2/team/app/tags/list")).fields.get("Link") == given


async def test_referrers(house: House) -> None:
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()
    headers = {"Content-Type": OCI_INDEX, "OCI-Filters-Applied": "artifactType"}
    house.images.lists[f"referrers/{MANIFEST}"] = Passed(200, headers, index)
    answer = await house.ask(f"/v2/team/app/referrers/{MANIFEST}?artifactType=a%2Fb%2Bc")
    assert (answer.status, answer.body) == (200, index)
    assert {name: answer.fields[name] for name in headers} == headers
    assert house.images.queries == [{"artifactType": "a/b+c"}]


@pytest.mark.parametrize("status", [204, 301, 400, 404, 408, 429, 500, 503])
async def test_only_answers_that_are_some_are_passed_on(house: House, status: int) -> None:
    house.images.lists["tags/list"] = Passed(status, {"Content-Type": "text/html"}, b"<h1>")
    answer = await house.ask("/v2/team/app/tags/list")
    assert answer.status == 404
    assert answer.error["code"] == "UNAVAILABLE"


@pytest.mark.parametrize("evil", ["a\r\nX: y", "a\nb", "a\0b", "\u2028", "\udcff"])
async def test_no_registry_puts_fields_into_answers(house: House, evil: str) -> None:
    house.images.lists["tags/list"] = Passed(200, {"Content-Type": evil}, b"{}")
    house.images.add_manifest(b"{}", "evil", evil)
    assert (await house.ask("/v2/team/app/tags/list")).error["code"] == "UNAVAILABLE"
    assert (await house.ask(path("manifests", "evil"))).error["code"] == "UNAVAILABLE"
    house.images.error = Unauthenticated("who are you", challenge=f"Bearer {evil}")
    answer = await house.ask(path("manifests", "latest"))
    assert (answer.status, answer.error["code"]) == (404, "UNAVAILABLE")
    assert "X" not in answer.fields


async def test_requests_are_counted(house: House) -> None:
    await house.ask("/v2/")
    await house.ask(path("blobs", BLOB))
    await house.ask(path("blobs", BLOB), "Range: bytes=0-9")
    await house.ask(path("blobs", STRANGER))
    await house.ask(path("manifests", "latest"), method="HEAD")
    await house.ask("/nowhere")
    counted = {
        (kind, code): house.count("cached_mirror_requests_total", kind=kind, code=code)
        for kind, code in [
            ("base", "200"),
            ("blob", "200"),
            ("blob", "206"),
            ("blob", "404"),
            ("manifest", "200"),
            ("other", "404"),
        ]
    }
    assert set(counted.values()) == {1.0}
    await until(lambda: house.count("cached_mirror_sent_bytes_total") == len(BLOB_DATA) + 10)
    assert house.count("cached_mirror_streams") == 0
