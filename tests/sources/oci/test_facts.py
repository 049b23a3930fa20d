"""What a registry has, by its own word."""

from __future__ import annotations

import pytest

from cached.core.digest import Digest
from cached.core.errors import (
    CachedError,
    Corrupt,
    Denied,
    InvalidRequest,
    NotFound,
    SourceUnavailable,
)
from cached.core.image import Repository
from cached.core.manifest import DOCKER_INDEX, DOCKER_MANIFEST, MAX_MANIFEST, OCI_INDEX, OCI_MANIFEST
from cached.core.registry import ANYBODY, NODE, Found, file_of
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, artifact, image, index, push
from tests.servers.layers import layer
from tests.servers.registry import DockerRegistry
from tests.sources.oci.canned import Canned
from tests.sources.oci.house import HOST, House

OTHER = Digest.sha256(b"something else")

KINDS = {
    OCI_MANIFEST: image([layer({"a": b"1"})]),
    DOCKER_MANIFEST: image([layer({"a": b"1"}, docker=True)], docker=True),
    OCI_INDEX: index([image([layer({"a": b"1"})], platform=name) for name in ("linux/amd64", "linux/arm64")]),
    DOCKER_INDEX: index([image([layer({"a": b"1"}, docker=True)], docker=True)], docker=True),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_manifests_of_every_kind_by_tag_and_by_digest(
    house: House, registry: DockerRegistry, kind: str
) -> None:
    pushed, repository = KINDS[kind], Repository.of(HOST, "kinds/c")
    push(registry.endpoint, "kinds/c", "latest", pushed)
    expected = Found(Digest(pushed.digest), pushed.manifest.size, kind)
    for reference in ("latest", pushed.digest):
        assert await house.source.manifest(repository, reference, NODE) == expected
    assert [seen.method for seen in house.server.requests(method="")] == ["HEAD", "HEAD"]


async def test_an_artifact_is_a_manifest_too(house: House, registry: DockerRegistry) -> None:
    pushed = artifact("application/vnd.example.thing", [b"a thing"])
    push(registry.endpoint, "artifacts/d", "v1", pushed)
    found = await house.source.manifest(Repository.of(HOST, "artifacts/d"), "v1", ANYBODY)
    assert (found.digest, found.media_type) == (pushed.digest, OCI_MANIFEST)


async def test_blobs_and_their_sizes(house: House) -> None:
    for blob in house.image.blobs:
        found = await house.source.blob(house.repository, Digest(blob.digest), NODE)
        assert found == Found(Digest(blob.digest), blob.size)


async def test_what_is_not_there(house: House) -> None:
    with pytest.raises(NotFound, match=r"manifest registry\.test/a/b:v2"):
        await house.source.manifest(house.repository, "v2", NODE)
    with pytest.raises(NotFound, match=f"manifest .*@{OTHER}"):
        await house.source.manifest(house.repository, OTHER, NODE)
    with pytest.raises(NotFound, match=f"blob registry.test/a/b@{OTHER}"):
        await house.source.blob(house.repository, OTHER, NODE)
    with pytest.raises(NotFound):
        await house.another().open_blob(house.repository, file_of(house.repository, Found(OTHER, 1)), NODE)
    assert house.errors() == {"NotFound": 4}


async def test_other_registries_are_not_asked(house: House) -> None:
    elsewhere = Repository.of("other.test", "a/b")
    assert house.source.hosts == {HOST}
    calls = (
        house.source.manifest(elsewhere, "v1", NODE),
        house.source.blob(elsewhere, OTHER, NODE),
        house.source.open_blob(elsewhere, file_of(elsewhere, Found(OTHER, 1)), NODE),
        house.source.passed(elsewhere, "tags/list", {}, NODE),
    )
    for call in calls:
        with pytest.raises(Denied, match=r"no image may come from other\.test"):
            await call
    assert house.errors() == {"Denied": 4}


@pytest.mark.parametrize(
    "reference", ["", "../../x", "a b", "v1?x", "sha512:" + "0" * 128, "origin:" + "0" * 64]
)
async def test_neither_a_tag_nor_a_digest(house: House, reference: str) -> None:
    with pytest.raises(InvalidRequest):
        await house.source.manifest(house.repository, reference, NODE)
    assert house.server.requests(method="") == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault(method="HEAD", headers={"Docker-Content-Digest": ""}),
        Fault(method="HEAD", headers={"Docker-Content-Digest": "sha512:" + "0" * 128}),
        Fault(method="HEAD", headers={"Docker-Content-Digest": "no digest"}),
        Fault(method="HEAD", headers={"Content-Encoding": "gzip"}),
        Fault(method="HEAD", headers={"Content-Type": "no type"}),
        Fault(method="HEAD", status=405),
        Fault(method="HEAD", status=501),
    ],
)
async def test_a_manifest_is_read_where_a_head_does_not_tell(house: House, fault: Fault) -> None:
    house.server.inject(fault)
    found = await house.tag(NODE)
    assert found == Found(Digest(house.image.digest), house.image.manifest.size, OCI_MANIFEST)
    assert [seen.method for seen in house.server.requests(method="")] == ["HEAD", "GET"]


@pytest.mark.parametrize("reference", ["v1", "digest"])
async def test_a_body_that_is_not_what_its_digest_says(house: House, reference: str) -> None:
    house.server.inject(Fault(method="HEAD", status=405))
    house.server.inject(Fault(flip=7))
    named = house.image.digest if reference == "digest" else reference
    with pytest.raises(Corrupt, match="something else for manifest"):
        await house.source.manifest(house.repository, named, NODE)


async def test_another_digest_than_was_asked_for(house: House) -> None:
    house.server.inject(Fault(method="HEAD", times=None, headers={"Docker-Content-Digest": OTHER}))
    assert (await house.tag(NODE)).digest == OTHER, "a tag is what the registry says"
    with pytest.raises(Corrupt, match=OTHER):
        await house.source.manifest(house.repository, house.image.digest, NODE)
    with pytest.raises(Corrupt, match=OTHER):
        await house.blob(NODE)


async def test_a_manifest_is_not_read_beyond_its_bound(small: Image) -> None:
    canned = Canned()
    with FaultyServer(canned) as server:
        house = House(server, small)
        canned.put("/v2/a/b/manifests/v1", body=bytes(MAX_MANIFEST + 1), Content_Type=OCI_MANIFEST)
        with pytest.raises(SourceUnavailable, match=f"more than {MAX_MANIFEST} bytes"):
            await house.tag(NODE)
        assert server.sent() <= MAX_MANIFEST + (1 << 20)
        digest = {"Docker-Content-Digest": OTHER}
        server.inject(Fault(method="HEAD", headers=digest))
        with pytest.raises(Corrupt, match="more than any manifest may"):
            await house.tag(NODE)
        await house.close()


async def test_a_manifest_without_a_kind_is_none(house: House) -> None:
    house.server.inject(Fault(method="", times=None, headers={"Content-Type": ""}))
    with pytest.raises(SourceUnavailable, match="without a usable Content-Type"):
        await house.tag(NODE)


async def test_the_size_of_a_blob_where_a_head_does_not_tell(house: House) -> None:
    house.server.inject(Fault(method="HEAD", status=405))
    assert await house.blob(NODE) == Found(house.layer, house.image.layers[0].size)
    house.server.inject(Fault(method="HEAD", status=405))
    house.server.inject(Fault(forget=frozenset({"range"})))
    assert await house.blob(NODE) == Found(house.layer, house.image.layers[0].size)
    house.server.inject(Fault(method="HEAD", status=405))
    house.server.inject(Fault(headers={"Content-Range": "bytes 0-0/*"}))
    with pytest.raises(SourceUnavailable, match="nothing says how large"):
        await house.blob(NODE)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, Denied),
        (451, Denied),
        (410, NotFound),
        (400, SourceUnavailable),
        (500, SourceUnavailable),
        (502, SourceUnavailable),
        (503, SourceUnavailable),
        (304, SourceUnavailable),
        (418, SourceUnavailable),
    ],
)
async def test_refusals(house: House, status: int, error: type[CachedError]) -> None:
    house.server.inject(Fault(method="", times=None, status=status))
    for call in (house.tag(NODE), house.blob(NODE)):
        with pytest.raises(error, match=r"registry\.test/a/b"):
            await call
    if error is not NotFound:
        assert len(house.server.requests(method="")) == 2, "each was asked once"


async def test_a_registry_that_is_not_there(small: Image, house: House) -> None:
    house.server.inject(Fault(method="", times=None, hang_up=True))
    with pytest.raises(SourceUnavailable, match=r"no good answer from 127\.0\.0\.1:\d+ for manifest"):
        await house.tag(NODE)
