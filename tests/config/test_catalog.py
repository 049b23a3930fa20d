"""The catalog file: what it may say, and what is refused by name."""

from __future__ import annotations

import pytest

from cached.config import catalog
from cached.core.errors import InvalidRequest


def test_a_full_entry() -> None:
    read = catalog.parse(
        """
models:
  meta/llama-3.1-70b:
    source: s3://models/llama/{revision}/
    revision: v2
    include: ["*.safetensors", "*.json"]
    exclude: ["original/**"]
    pin: true
    warm_at_start: true
    namespaces: [team-a]
""",
        "c.yaml",
    )
    model = read.models["meta/llama-3.1-70b"]
    assert model.revision == "v2"
    assert model.selection.include == ("*.safetensors", "*.json")


def test_images_stand_beside_the_models() -> None:
    read = catalog.parse(
        """
images:
  nvcr.io/nim/meta/llama-3.1-70b-instruct:1.8: {pull: true, pin: true}
  redis:
  quay.io/a/b:c: {platform: linux/arm64/v8}
""",
        "c.yaml",
    )
    assert read.images["nvcr.io/nim/meta/llama-3.1-70b-instruct:1.8"].pull
    assert not read.images["redis"].pin
    assert read.images["quay.io/a/b:c"].platform == "linux/arm64/v8"


def test_an_empty_file_is_an_empty_catalog() -> None:
    assert catalog.parse("", "c.yaml").models == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models: {../x: {source: 's3://a'}}", "'../x'"),
        ("models: {'a b': {source: 's3://a'}}", "'a b'"),
        ("models: {'': {source: 's3://a'}}", "''"),
        ("models: {x: {sorce: 's3://a'}}", "unknown key models.x.sorce"),
        ("models: {x: {}}", "models.x.source"),
        ("models: {x: {source: 'http://a/b'}}", "models.x.source"),
        ("models: {x: {source: '/etc'}}", "models.x.source"),
        ("models: {x: {source: 's3://a', revision: '../b'}}", "models.x.revision"),
        ("models: {x: {source: 's3://a/{revision}'}}", "default revision"),
        ("models: {x: {source: 's3://a', include: ['']}}", "models.x.include"),
        ("models: {x: {source: 's3://a', pin: 'sometimes'}}", "models.x.pin"),
        ("models: {x: {source: 's3://a'}, x: {source: 's3://b'}}", "stands twice"),
        ("model: {}", "unknown key model"),
        ("images: {A/b: {}}", "'A/b'"),
        ("images: {a: {pul: true}}", "unknown key images.a.pul"),
        ("images: {a: {platform: linux}}", "images.a.platform"),
        ("images: {a: {pull: true, platform: linux/arm64}}", "images.a: pull"),
        ("images: [a]", "images"),
    ],
)
def test_what_is_wrong_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        catalog.parse(text, "c.yaml")
    assert named in str(caught.value)
    assert "c.yaml" in str(caught.value)
