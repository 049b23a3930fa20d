"""Pulls and pins through a real containerd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from cached._proto.runtime.v1.images_pb2 import ImageSpec, ImageStatusRequest
from cached._proto.runtime.v1.images_pb2_grpc import ImageServiceStub
from cached.core.digest import Digest
from cached.core.errors import NotFound, RuntimeUnavailable
from cached.core.image import ImageName
from cached.runtime.containerd import Containerd as Adapter
from tests.servers.containerd import Containerd
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, push, runnable
from tests.servers.layers import Noise, layer
from tests.servers.registry import DockerRegistry

SMALL = runnable(layer({"noise": Noise(200_000)}))
LARGE = runnable(layer({"noise": Noise(20_000_000, seed=2)}))


@pytest.fixture
def image(registry: DockerRegistry, host: str) -> ImageName:
    return offered(registry, host, SMALL)


@pytest.fixture
def slow(registry: DockerRegistry, front: FaultyServer, host: str) -> ImageName:
    """An image whose large layer takes its time."""
    front.inject(Fault(path=f"*/blobs/{LARGE.layers[1].digest}", rate=4_000_000, times=None))
    return offered(registry, host, LARGE)


def offered(registry: DockerRegistry, host: str, image: Image, tag: str = "1") -> ImageName:
    push(registry.endpoint, "tests/some", tag, image)
    return ImageName.parse(f"{host}/tests/some:{tag}")


def by_digest(image: ImageName, digest: str) -> ImageName:
    return ImageName(image.repository, digest=Digest.parse(digest))


def pinned(containerd: Containerd, image: ImageName) -> bool:
    """As kubelet sees it."""
    request = ImageStatusRequest(image=ImageSpec(image=str(image)))
    with grpc.insecure_channel(f"unix:{containerd.socket}") as channel:
        return ImageServiceStub(channel).ImageStatus(request).image.pinned


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.01)


async def test_what_was_pulled_is_there_by_its_tag_and_by_its_digest(
    containerd: Containerd, runtime: Adapter, image: ImageName
) -> None:
    known = by_digest(image, SMALL.digest)
    assert not await runtime.has(image)
    assert not await runtime.has(known)
    await runtime.pull(image, None)
    assert await runtime.has(image)
    assert await runtime.has(known)
    assert await runtime.has(ImageName(image.repository, "other", known.digest))
    assert not await runtime.has(by_digest(image, f"sha256:{'0' * 64}"))
    assert containerd.run(str(image), "/bin/busybox", "echo", "unpacked") == "unpacked\n"
    containerd.remove(str(image))
    assert not await runtime.has(image)


async def test_a_pull_by_digest(runtime: Adapter, image: ImageName) -> None:
    await runtime.pull(ImageName(image.repository, "moved", Digest.parse(SMALL.digest)), None)
    assert await runtime.has(by_digest(image, SMALL.digest))
    assert not await runtime.has(image)


async def test_kubelet_sees_a_pin_where_there_are_pins(
    containerd: Containerd, runtime: Adapter, image: ImageName
) -> None:
    """Debian's 1.6.20 has none."""
    has_pins = containerd.version != "1.6"
    await runtime.pull(image, None)
    assert not pinned(containerd, image)
    assert await runtime.pin(image) == has_pins
    assert pinned(containerd, image) == has_pins
    containerd.restart()
    assert pinned(containerd, image) == has_pins
    assert "io.cri-containerd.image=managed" in containerd.ctr("images", "ls")


@pytest.mark.parametrize("containerd", ["1.7", "2"], indirect=True)
async def test_a_pin_on_a_digest(containerd: Containerd, runtime: Adapter, image: ImageName) -> None:
    await runtime.pull(image, None)
    assert await runtime.pin(by_digest(image, SMALL.digest))
    assert pinned(containerd, image)
    await runtime.pull(image, None)
    assert pinned(containerd, image)  # a pull takes the pin from the name that it pulled, and from no other


async def test_a_pin_on_what_is_not_there_harms_nobody(
    containerd: Containerd, runtime: Adapter, image: ImageName
) -> None:
    """containerd 1.7 and 2.1 die when they are asked in a way that their own client never uses."""
    before = containerd.pid
    with pytest.raises(NotFound):
        await runtime.pin(image)
    await runtime.pull(image, None)
    assert containerd.pid == before


async def test_a_cancelled_pull_is_given_up(
    containerd: Containerd, runtime: Adapter, slow: ImageName
) -> None:
    pulling = asyncio.create_task(runtime.pull(slow, None))
    await until(lambda: any(size > 100_000 for size in containerd.ingests().values()))
    pulling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pulling
    await until(lambda: not containerd.ingests())
    assert not (containerd.blobs / LARGE.layers[1].digest.removeprefix("sha256:")).exists()
    assert not await runtime.has(slow)


@pytest.mark.parametrize("end", [Containerd.stop, Containerd.kill9])
async def test_containerd_ends_during_a_pull(
    containerd: Containerd,
    runtime: Adapter,
    front: FaultyServer,
    slow: ImageName,
    end: Callable[[Containerd], None],
) -> None:
    pulling = asyncio.create_task(runtime.pull(slow, None))
    await until(lambda: any(size > 100_000 for size in containerd.ingests().values()))
    await asyncio.to_thread(end, containerd)
    with pytest.raises(RuntimeUnavailable, match="asked to pull"):
        await pulling
    with pytest.raises(RuntimeUnavailable):
        await runtime.has(slow)
    with pytest.raises(RuntimeUnavailable):
        await runtime.pull(slow, None)
    with pytest.raises(RuntimeUnavailable):
        await runtime.pin(slow)
    front.heal()
    containerd.start()
    await back(runtime, slow)
    await runtime.pull(slow, None)
    assert await runtime.has(slow)


async def back(runtime: Adapter, image: ImageName) -> None:
    """Wait until calls are answered again."""
    async with asyncio.timeout(5):
        while True:
            try:
                await runtime.has(image)
            except RuntimeUnavailable:
                await asyncio.sleep(0.02)
            else:
                return


async def test_a_restart_between_calls_goes_unnoticed(
    containerd: Containerd, runtime: Adapter, image: ImageName
) -> None:
    await runtime.pull(image, None)
    containerd.restart()
    await asyncio.sleep(0.1)  # the channel hears of its loss
    assert await runtime.has(image)


@pytest.mark.parametrize("containerd", ["1.7"], indirect=True)
async def test_a_socket_that_comes_later(containerd: Containerd, image: ImageName) -> None:
    late = containerd.socket.with_name("late.sock")
    runtime = Adapter(late)
    try:
        with pytest.raises(RuntimeUnavailable, match="No such file"):
            await runtime.has(image)
        late.symlink_to(containerd.socket)
        await back(runtime, image)
    finally:
        await runtime.close()


@pytest.mark.parametrize("containerd", ["1.7"], indirect=True)
async def test_a_wedged_containerd_counts_as_none(
    containerd: Containerd, runtime: Adapter, image: ImageName
) -> None:
    await runtime.has(image)
    containerd.freeze()
    try:
        began = time.monotonic()
        with pytest.raises(RuntimeUnavailable):
            await runtime.has(image)
        assert time.monotonic() - began < 10
    finally:
        containerd.thaw()
    await runtime.pull(image, None)


async def test_another_runtime_has_no_pins(tmp_path: Path) -> None:
    """One that answers, but knows nothing of containerd's own services."""
    server = grpc.aio.server()
    server.add_insecure_port(f"unix:{tmp_path}/socket")
    await server.start()
    runtime = Adapter(tmp_path / "socket")
    try:
        assert not await runtime.pin(ImageName.parse("redis"))
    finally:
        await runtime.close()
        await server.stop(None)
