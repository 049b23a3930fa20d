"""Manifests, read with suspicion."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core import manifest as kinds
from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, NotFound
from cached.core.image import Platform
from cached.core.manifest import MAX_MANIFEST, Index, Manifest, parse_manifest

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
LAYER = "application/vnd.oci.image.layer.v1.tar+zstd"


def described(data: bytes, media_type: str = LAYER, **more: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": Digest.sha256(data), "size": len(data), **more}


def image(*layers: dict[str, Any], **more: Any) -> bytes:
    return json.dumps(
        {"schemaVersion": 2, "mediaType": kinds.OCI_MANIFEST, "config": described(b"{}"), "layers": layers}
        | more
    ).encode()


def index(*manifests: dict[str, Any], **more: Any) -> bytes:
    said = {"schemaVersion": 2, "mediaType": kinds.OCI_INDEX, "manifests": manifests}
    return json.dumps(said | more).encode()


def on(platform: str, data: bytes) -> dict[str, Any]:
    words = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    return described(data, kinds.OCI_MANIFEST, platform=words)


@pytest.mark.parametrize("media_type", ["", kinds.OCI_MANIFEST])
def test_an_image_names_its_config_and_layers_each_once(media_type: str) -> None:
    read = parse_manifest(image(described(b"one"), described(b"two"), described(b"one")), media_type)
    assert isinstance(read, Manifest)
    assert [layer.size for layer in read.layers] == [3, 3, 3]
    assert set(read.blobs) == {Digest.sha256(data) for data in (b"{}", b"one", b"two")}


def test_dockers_kinds_and_those_without_a_media_type_are_read_alike() -> None:
    assert isinstance(parse_manifest(image(mediaType=kinds.DOCKER_MANIFEST), kinds.DOCKER_MANIFEST), Manifest)
    assert isinstance(parse_manifest(index(mediaType=kinds.DOCKER_INDEX), kinds.DOCKER_INDEX), Index)
    bare = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    assert isinstance(parse_manifest(bare), Index)
    no_layers = json.dumps({"schemaVersion": 2, "config": described(b"{}")}).encode()
    assert isinstance(parse_manifest(no_layers, kinds.OCI_MANIFEST), Manifest)


def test_foreign_layers_are_fetched_from_elsewhere() -> None:
    read = parse_manifest(image(described(b"there", urls=["http://elsewhere.test/layer"])))
    assert isinstance(read, Manifest)
    assert Digest.sha256(b"there") not in read.blobs


def test_the_manifest_for_a_platform_is_found() -> None:
    read = parse_manifest(
        index(on("linux/arm64/v8", b"arm"), on("linux/amd64", b"amd"), on("linux/amd64/v3", b"v3"))
    )
    assert isinstance(read, Index)
    assert read.choose(AMD).digest == Digest.sha256(b"amd")
    assert read.choose(ARM).digest == Digest.sha256(b"arm")
    assert read.choose(Platform("linux", "amd64", "v3")).digest == Digest.sha256(b"v3")
    with pytest.raises(NotFound, match="windows/amd64") as caught:
        read.choose(Platform("windows", "amd64"))
    assert "linux/arm64/v8" in caught.value.hint


def test_what_is_beside_the_images_of_an_index_does_not_spoil_it() -> None:
    attestation = described(
        b"proof", kinds.OCI_MANIFEST, platform={"os": "unknown", "architecture": "unknown"}
    )
    other = {"mediaType": kinds.OCI_MANIFEST, "digest": f"sha512:{'0' * 128}", "size": 3}
    read = parse_manifest(index(attestation, other, on("linux/amd64", b"amd"), described(b"none")))
    assert isinstance(read, Index)
    assert read.choose(AMD).digest == Digest.sha256(b"amd")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"null", b"{", b"\xff", b"{}", b'{"schemaVersion": 1, "config": {}}', b"[" * 100_000,
        image(layers={}), image(layers=[1]), image(config=None), image(config="x"), image(manifests=[]),
        image({"digest": "sha256:12", "size": 1}), image({"digest": f"sha256:{'0' * 64}"}),
        image({"digest": f"sha256:{'0' * 64}", "size": -1}),
        image({"digest": f"sha256:{'0' * 64}", "size": True}),
        image({"digest": f"sha256:{'0' * 64}", "size": 1 << 60}), image({"digest": ["x"], "size": 1}),
        image({"digest": f"sha512:{'0' * 128}", "size": 1}),
        image({"digest": f"origin:{'0' * 64}", "size": 1}),
        index({"digest": 1, "size": []}), index(config=described(b"{}")),
        image(*[described(b"x")] * 5000), b" " * (MAX_MANIFEST + 1),
    ],
)  # fmt: skip
def test_no_manifests(data: bytes) -> None:
    with pytest.raises(Corrupt):
        parse_manifest(data)


def test_a_manifest_is_what_its_registry_says_or_nothing() -> None:
    with pytest.raises(Corrupt, match="registry"):
        parse_manifest(index(), kinds.OCI_MANIFEST)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "digest", "size", "platform"]
)


@given(st.dictionaries(KEYS, json_values | st.dictionaries(KEYS, json_values)))
def test_any_json_is_read_or_refused(said: dict[str, Any]) -> None:
    with suppress(CachedError):
        parse_manifest(json.dumps(said).encode())
