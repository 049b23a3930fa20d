"""Names of images, as runtimes read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.core.errors import CachedError, InvalidRequest
from cached.core.image import ImageName, ImageRef, Platform, Repository, check_tag, is_image

DIGEST = Digest.sha256(b"image")


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("redis", "docker.io/library/redis:latest"),
        ("redis:7", "docker.io/library/redis:7"),
        ("vllm/vllm-openai:v0.9", "docker.io/vllm/vllm-openai:v0.9"),
        ("docker.io/redis", "docker.io/library/redis:latest"),
        ("index.docker.io/library/redis", "docker.io/library/redis:latest"),
        ("registry-1.docker.io/a/b", "docker.io/a/b:latest"),
        ("nvcr.io/nim/meta/llama-3.1:1.8", "nvcr.io/nim/meta/llama-3.1:1.8"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a:b", "localhost:5000/a:b"),
        ("127.0.0.1:5000/a", "127.0.0.1:5000/a:latest"),
        ("[::1]:5000/a:b", "[::1]:5000/a:b"),
        (f"quay.io/a/b@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
        (f"quay.io/a/b:c@{DIGEST}", f"quay.io/a/b:c@{DIGEST}"),
    ],
)
def test_names_are_completed_as_runtimes_do_it(text: str, full: str) -> None:
    assert str(ImageName.parse(text)) == full
    assert str(ImageName.parse(full)) == full


def test_a_digest_wins_over_the_tag() -> None:
    assert ImageName.parse(f"quay.io/a/b:c@{DIGEST}").reference == DIGEST
    assert ImageName.parse("quay.io/a/b:c").reference == "c"


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "@", "/", "a:", "a@", "a@sha256:12", "A/b", "a//b", "/a", "a/", "../a", "a/../b", "a b",
        "a\0", "a:b c", "a:.b", "quay.io/", "quay.io/A", "quay.io/a:b:c", "quay.io:99999999/a", "u@quay.io/a",
        "http://quay.io/a", "quay.io/a?b", "quay.io/a#b", "quay.io/a%2fb", "é/a", "quay.io/a:é",
        f"a@sha512:{'0' * 128}", f"a@{DIGEST}x", "a" * 300, "quay.io/" + "a/" * 200, "-a.io/a", "a.io-/a",
    ],
)  # fmt: skip
def test_no_names(text: str) -> None:
    with pytest.raises(InvalidRequest):
        ImageName.parse(text)


@given(st.text(max_size=60))
def test_any_text_is_a_name_that_reads_back_or_is_refused(text: str) -> None:
    try:
        name = ImageName.parse(text)
    except CachedError:
        return
    assert ImageName.parse(str(name)) == name
    assert ".." not in str(name).split("/")
    assert str(name).isascii()


def test_a_ref_has_a_platform_or_none() -> None:
    plain = ImageRef.parse("oci://quay.io/a/b:c")
    assert (str(plain.name), plain.platform) == ("quay.io/a/b:c", None)
    other = ImageRef(plain.name, Platform("linux", "arm64", "v8"))
    assert str(other) == "oci://quay.io/a/b:c?platform=linux/arm64/v8"
    assert ImageRef.parse(str(other)) == other
    assert is_image(str(other))
    assert not is_image("s3://bucket/oci://")


@pytest.mark.parametrize(
    "uri",
    [
        "s3://quay.io/a", "oci://", "oci://quay.io/a?platform=", "oci://quay.io/a?platform=linux",
        "oci://quay.io/a?other=1", "oci://quay.io/a#b", "oci://quay.io/a?platform=linux/amd64&x=y",
        "oci://quay.io/a?platform=Linux/amd64", "oci://quay.io/a?platform=a/b/c/d",
    ],
)  # fmt: skip
def test_no_refs(uri: str) -> None:
    with pytest.raises(InvalidRequest):
        ImageRef.parse(uri)


def test_machines_are_called_as_images_call_them() -> None:
    assert str(Platform.of_machine("x86_64")) == "linux/amd64"
    assert str(Platform.of_machine("aarch64")) == "linux/arm64"
    assert str(Platform.of_machine("riscv64")) == "linux/riscv64"


@pytest.mark.parametrize("host", ["", "a b", "quay.io/", "quay.io:", "a..b", "a\n", "http://a", "quay.io@b"])
def test_no_registries(host: str) -> None:
    with pytest.raises(InvalidRequest):
        Repository.of(host, "a")


@pytest.mark.parametrize(
    ("tag", "good"), [("v1", True), ("_", True), ("", False), (".a", False), ("a" * 129, False)]
)
def test_tags(tag: str, good: bool) -> None:
    assert check_tag(tag) is good
