"""The registry and the images of the tests: other tools take them, too."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.servers.images import Image, artifact, basic, image, index, push, runnable
from tests.servers.layers import Content, Link, Noise, Zeros, layer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.tokens import TokenService

SKOPEO = shutil.which("skopeo")

pytestmark = [
    pytest.mark.skipif(DOCKER_REGISTRY is None, reason="docker-registry is not installed: make packages"),
    pytest.mark.skipif(SKOPEO is None, reason="skopeo is not installed: make packages"),
]

FILES: Mapping[str, Content] = {
    "etc/motd": b"hello",
    "data/noise": Noise(3 << 20),
    "data/zeros": Zeros(1 << 20),
    "a": Link("etc"),
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as server:
        yield server


def skopeo(*arguments: object) -> str:
    command = [str(SKOPEO), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def copied(registry: DockerRegistry, name: str, to: Path) -> dict[str, Any]:
    """Have skopeo copy and check all bytes; returns the manifest."""
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{registry.host}/{name}", f"dir:{to}")
    return dict(json.loads((to / "manifest.json").read_text()))


IMAGES = {
    "oci": image([layer(FILES), layer({"b": b"2"}, compression="")]),
    "docker": image([layer(FILES, docker=True), layer({"b": b"2"}, docker=True)], docker=True),
    "zstd": image([layer(FILES, compression="zstd")]),
    "runnable": runnable(layer({"etc/motd": b"on top"})),
    "artifact": artifact("application/vnd.example.thing", [b"a thing"]),
    "index": index([image([layer({"a": b"1"})], platform=name) for name in ("linux/amd64", "linux/arm/v7")]),
    "list": index([image([layer({"a": b"1"}, docker=True)], docker=True)], docker=True),
}


@pytest.mark.parametrize("kind", IMAGES)
@pytest.mark.parametrize("step", [0, 1 << 20])
def test_images_are_images(registry: DockerRegistry, tmp_path: Path, kind: str, step: int) -> None:
    name = f"kinds/{kind}/{step}"
    push(registry.endpoint, name, "v1", IMAGES[kind], step=step)
    assert copied(registry, f"{name}:v1", tmp_path) == json.loads(IMAGES[kind].manifest.data)


def test_layers_unpack_to_what_their_image_says(registry: DockerRegistry, tmp_path: Path) -> None:
    """umoci compares each diff id, too."""
    umoci = shutil.which("umoci")
    if umoci is None:
        pytest.skip("umoci is not installed: make packages")
    push(registry.endpoint, "unpacked", "v1", image([layer(FILES), layer({"b": b"2"}, compression="")]))
    skopeo("copy", "--src-tls-verify=false", f"docker://{registry.host}/unpacked:v1", f"oci:{tmp_path}/i:v1")
    subprocess.run(
        [umoci, "unpack", "--rootless", "--image", tmp_path / "i:v1", tmp_path / "u"],
        check=True,
        capture_output=True,
    )
    rootfs = tmp_path / "u/rootfs"
    assert (rootfs / "a/motd").read_bytes() == b"hello"
    assert (rootfs / "data/noise").stat().st_size == 3 << 20
    assert (rootfs / "data/zeros").read_bytes() == bytes(1 << 20)


def test_its_users_and_nobody_else(tmp_path: Path) -> None:
    small = image([layer({"a": b"1"})])
    with DockerRegistry(tmp_path / "r", users={"ann": "secret"}) as registry:
        with pytest.raises(AssertionError, match="401"):
            push(registry.endpoint, "a/b", "v1", small)
        push(registry.endpoint, "a/b", "v1", small, authorization=basic("ann", "secret"))
        where = ("--tls-verify=false", f"docker://{registry.host}/a/b:v1")
        assert small.digest in skopeo("inspect", "--creds", "ann:secret", *where)
        with pytest.raises(AssertionError, match="authentication required"):
            skopeo("inspect", "--creds", "ann:wrong", *where)


def test_what_the_token_service_says(tmp_path: Path) -> None:
    small = image([layer({"a": b"1"})])
    with (
        TokenService({"ann": "secret"}, public=["open/*"]) as tokens,
        DockerRegistry(tmp_path / "r", tokens=tokens) as registry,
    ):
        for name in ("open/a", "closed/a"):
            token = tokens.token("ann", f"repository:{name}:pull,push")
            push(registry.endpoint, name, "v1", small, authorization=f"Bearer {token}")
        to = f"docker://{registry.host}"
        assert small.digest in skopeo("inspect", "--tls-verify=false", f"{to}/open/a:v1")
        assert small.digest in skopeo(
            "inspect", "--tls-verify=false", "--creds=ann:secret", f"{to}/closed/a:v1"
        )
        with pytest.raises(AssertionError, match="authentication required"):
            skopeo("inspect", "--tls-verify=false", f"{to}/closed/a:v1")
        assert {call.user for call in tokens.calls} == {"", "ann"}


def test_data_outlive_its_end(tmp_path: Path) -> None:
    small: Image = image([layer({"a": b"1"})])
    with DockerRegistry(tmp_path / "r") as registry:
        push(registry.endpoint, "a", "v1", small)
        port = registry.port
        registry.kill()
        registry.start()
        assert registry.port == port
        assert registry.blob_file(small.digest).read_bytes() == small.manifest.data
        assert small.digest in skopeo("inspect", "--tls-verify=false", f"docker://{registry.host}/a:v1")
