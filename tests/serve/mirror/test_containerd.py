"""Real containerd, whose pulls end well whatever the mirror does."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest

from cached.core.errors import Denied, InvalidRequest, SourceUnavailable, Unauthenticated
from cached.core.image import Repository
from cached.serve.mirror.server import MirrorOptions
from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Upstream
from tests.serve.mirror.house import House, serving
from tests.serve.mirror.images import Blob
from tests.servers import containerd_config
from tests.servers.containerd import Containerd, lacking
from tests.servers.faulty import FaultyServer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry

NAME = "team/app"
IMAGE = hello(24 * MIB)
LAYER = IMAGE.layers[-1]
OPTIONS = MirrorOptions(first_piece=0.1, stall=0.8)
_IN_PARTS = """
[plugins."io.containerd.cri.v1.images"]
concurrent_layer_fetch_buffer = 1048576
use_local_image_pull = true
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed; see make packages")
    with (
        DockerRegistry(tmp_path_factory.mktemp("registry")) as registry,
        FaultyServer(registry.endpoint) as front,
    ):
        upstream = Upstream(registry, front)
        upstream.offer(NAME, IMAGE)
        yield upstream


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("1.6", marks=pytest.mark.slow),
        "1.7",
        pytest.param("2", marks=pytest.mark.slow),
        "2 in parts",
    ],
)
def containerd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Containerd]:
    version, _, in_parts = request.param.partition(" ")
    if reason := lacking(version):
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        if in_parts:
            plain = containerd_config._OF_2
            table = '[plugins."io.containerd.cri.v1.images"]\n'
            assert plain.count(table) == 1
            patch.setattr(containerd_config, "_OF_2", plain.replace(table, _IN_PARTS.lstrip()))
        with Containerd(tmp_path_factory.mktemp("containerd"), version=version) as containerd:
            yield containerd


@pytest.fixture
async def house(upstream: Upstream, containerd: Containerd, tmp_path: Path) -> AsyncIterator[House]:
    """A mirror that has the image, and a containerd without it which asks there first."""
    async with serving(tmp_path, OPTIONS) as house:
        house.images.repository = Repository(upstream.host, NAME)
        for blob in IMAGE.blobs:
            house.images.add_blob(upstream.registry.blob_file(blob.digest).read_bytes())
        manifest = upstream.registry.blob_file(IMAGE.digest).read_bytes()
        house.images.add_manifest(manifest, "v1", IMAGE.manifest.media_type)
        containerd.hosts_toml(
            upstream.host,
            f'server = "{upstream.endpoint}"\n\n[host."http://127.0.0.1:{house.port}"]\n'
            '  capabilities = ["pull", "resolve"]\n',
        )
        yield house
        name = f"{upstream.host}/{NAME}:v1"
        if name in containerd.images():
            containerd.remove(name)


def layer(house: House) -> Blob:
    [blob] = [blob for digest, blob in house.images.blobs.items() if digest == LAYER.digest]
    return blob


def in_parts(containerd: Containerd) -> bool:
    """Whether it reads layers in several ranges at once."""
    return "concurrent_layer_fetch_buffer" in containerd._config.read_text()


async def pull(containerd: Containerd, upstream: Upstream) -> int:
    """Pull, and run it; returns how often the registry was asked for the large layer meanwhile."""
    name = f"{upstream.host}/{NAME}:v1"
    before = upstream.gets(f"/v2/*/blobs/{LAYER.digest}")
    await asyncio.to_thread(containerd.pull, name)
    assert await asyncio.to_thread(containerd.run, name, *SAID) == "hello\n"
    return upstream.gets(f"/v2/*/blobs/{LAYER.digest}") - before


async def pull_as_kubelet(containerd: Containerd, upstream: Upstream) -> int:
    """Who reads in parts may give up the layer: then the pull is tried again."""
    try:
        return await pull(containerd, upstream)
    except grpc.RpcError:
        assert in_parts(containerd)
    return await pull(containerd, upstream)


async def test_a_pull_needs_no_registry(house: House, containerd: Containerd, upstream: Upstream) -> None:
    asked = upstream.gets()
    assert await pull(containerd, upstream) == 0
    assert upstream.gets() == asked
    assert house.count("cached_mirror_aborted_total", reason="error") == 0
    assert house.images.reading == 0


async def test_a_layer_that_arrives_slowly_needs_none_either(
    house: House, containerd: Containerd, upstream: Upstream
) -> None:
    """Longer than any of its parts may take to begin by itself."""
    blob = layer(house)
    blob.here = MIB

    async def arrive() -> None:
        for here in itertools.count(MIB, MIB):
            blob.arrive(min(here, blob.size))
            await asyncio.sleep(0.06)

    arriving = asyncio.create_task(arrive())
    try:
        assert await pull(containerd, upstream) == 0
    finally:
        arriving.cancel()
    if in_parts(containerd):
        assert house.count("cached_mirror_requests_total", kind="blob", code="206") >= 24


async def test_a_layer_that_stalls_on_its_way(
    house: House, containerd: Containerd, upstream: Upstream
) -> None:
    layer(house).here = 10 * MIB
    assert await pull_as_kubelet(containerd, upstream) >= 1
    assert house.count("cached_mirror_aborted_total", reason="stall") >= 1


async def test_a_layer_that_does_not_come(house: House, containerd: Containerd, upstream: Upstream) -> None:
    layer(house).here = 0
    assert await pull(containerd, upstream) >= 1


async def test_a_file_that_fails_on_its_way(house: House, containerd: Containerd, upstream: Upstream) -> None:
    blob = layer(house)
    os.truncate(blob.path, 10 * MIB)
    assert await pull_as_kubelet(containerd, upstream) >= 1
    assert house.count("cached_mirror_aborted_total", reason="error") >= 1


async def test_whatever_the_mirror_says_the_registry_is_asked_next(
    house: House, containerd: Containerd, upstream: Upstream
) -> None:
    for error in (
        SourceUnavailable("it is down"),
        InvalidRequest("no name"),
        Denied("not yours"),
        Unauthenticated("who are you"),
        Unauthenticated("who are you", challenge='Basic realm="a"'),
        Unauthenticated("who are you", challenge='Bearer realm="http://127.0.0.1:1/token",service="a"'),
        Unauthenticated("who are you", challenge="Nonsense"),
        KeyError("bug"),
    ):
        house.images.error = error
        house.images.asked.clear()
        assert await pull(containerd, upstream) >= 1
        assert house.images.asked
        await asyncio.to_thread(containerd.remove, f"{upstream.host}/{NAME}:v1")
