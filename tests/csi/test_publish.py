"""Volumes that appear and disappear, as kubelet asks."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import grpc
import pytest
from prometheus_client import generate_latest

from tests.csi.kubelet import NOT_FINAL
from tests.csi.node import Node, refused, shown
from tests.publish.playground import Playground, run

Code = grpc.StatusCode


async def test_a_model_appears_read_only_and_goes(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    assert await volume.mount() == []
    assert node.receiver.sees(volume.target / "f") == "model"
    assert node.receiver.cannot_write(volume.target)
    [lease] = node.leases
    assert (lease.holder, lease.ref) == (f"csi/{volume.id}", "org/m@v1")
    [mount] = playground.mounts()
    assert mount.point == str(volume.target)
    assert {"ro", "nosuid", "nodev"} <= mount.options
    assert node.driver.sample("cached_volumes", model="org/m") == 1
    await volume.tear_down()
    assert playground.mounts() == []
    assert node.leases == []
    assert node.receiver.sees(volume.target / "f") is None
    assert 'cached_volumes{model="org/m"}' not in _text(node)


async def test_kubelet_may_ask_again_and_again(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    await asyncio.gather(*(volume.set_up() for _ in range(10)))
    for _ in range(3):
        await volume.set_up()
    assert shown(playground) == [volume.target]
    assert len(node.leases) == 1
    for _ in range(3):
        await volume.tear_down()
    assert shown(playground) == []


async def test_two_pods_have_a_mount_and_a_lease_each(node: Node, playground: Playground) -> None:
    first, second = node.volume(model="org/m"), node.volume(model="org/m", revision="v1")
    await asyncio.gather(first.mount(), second.mount())
    assert len(shown(playground)) == len(node.leases) == 2
    assert node.house.source.opens == 2
    assert node.driver.sample("cached_volumes", model="org/m") == 2
    await first.tear_down()
    assert node.receiver.sees(second.target / "f") == "model"
    assert node.driver.sample("cached_volumes", model="org/m") == 1


async def test_a_slow_model_comes_in_the_background(node: Node, playground: Playground) -> None:
    """Kubelet's call ends before its deadline, with how far it is; it asks again, and nothing is lost."""
    node.house.source.gate.clear()
    volume = node.volume(model="org/m")
    began = time.monotonic()
    error = await refused(volume, seconds=2)
    assert time.monotonic() - began < 2
    assert error.code() is Code.ABORTED
    assert "org/m is on its way: 0 B of 7 B" in str(error.details())
    assert volume.target.parent.exists()
    assert node.house.source.lists == 1
    node.house.source.gate.set()
    await volume.mount()
    assert node.receiver.sees(volume.target / "f") == "model"
    assert (node.house.source.lists, node.house.source.opens) == (1, 2)
    assert node.driver.sample("cached_volume_publish_duration_seconds_count", outcome="miss") == 1


async def test_it_comes_while_nobody_asks(node: Node, playground: Playground) -> None:
    """A call that kubelet gave up, or whose connection broke, stops nothing."""
    node.house.source.gate.clear()
    volume = node.volume(model="org/m")
    asking = asyncio.create_task(volume.set_up())
    await asyncio.sleep(0.3)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await refused(volume, seconds=0.05)).code() in NOT_FINAL
    node.house.source.gate.set()
    async with asyncio.timeout(10):
        while shown(playground) != [volume.target]:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)
    await volume.set_up()
    await volume.tear_down()
    assert node.leases == []


async def test_a_pod_that_ends_while_its_model_comes(node: Node, playground: Playground) -> None:
    node.house.source.gate.clear()
    volume = node.volume(model="org/m")
    assert (await refused(volume, seconds=0.5)).code() is Code.ABORTED
    await volume.tear_down()
    async with asyncio.timeout(5):
        while (await node.house.engine.status()).flight_count:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    node.house.source.gate.set()
    await asyncio.sleep(0.1)
    assert shown(playground) == []
    assert node.leases == []


async def test_a_call_under_way_when_the_pod_ends(node: Node, playground: Playground) -> None:
    node.house.source.gate.clear()
    volume = node.volume(model="org/m")
    asking = asyncio.create_task(volume.set_up())
    await asyncio.sleep(0.2)
    await volume.tear_down()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asking
    assert caught.value.code() is Code.UNAVAILABLE
    assert "given up" in str(caught.value.details())


@pytest.mark.parametrize(
    "other", [{"model": "moving"}, {"model": "org/m", "view": "hub"}, {"model": "org/m", "include": "*.json"}]
)
async def test_something_else_at_the_same_target(
    node: Node, playground: Playground, other: dict[str, str]
) -> None:
    volume = node.volume(model="org/m")
    await volume.mount()
    error = await refused(volume.pod.volume(other))
    assert error.code() is Code.ALREADY_EXISTS
    assert shown(playground) == [volume.target], "a final error took away what is another's"
    assert len(node.leases) == 1
    error = await refused(volume.pod.volume({"socket": "true"}))
    assert error.code() is Code.ALREADY_EXISTS
    request = volume.request
    request.volume_id = "csi-another"
    async with node.kubelet.node() as calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await calls.NodePublishVolume(request)
    assert caught.value.code() is Code.ALREADY_EXISTS


async def test_something_else_while_the_first_comes(node: Node) -> None:
    node.house.source.gate.clear()
    volume = node.volume(model="org/m")
    await refused(volume, seconds=0.5)
    error = await refused(volume.pod.volume({"model": "moving"}))
    assert error.code() is Code.ALREADY_EXISTS


async def test_whose_pods_may_have_it(node: Node, playground: Playground) -> None:
    stranger = node.volume("team-c", model="secret")
    error = await refused(stranger)
    assert error.code() is Code.PERMISSION_DENIED
    assert "secret@v1 is not for pods of namespace team-c" in str(error.details())
    assert not stranger.pod.directory.joinpath("volumes/kubernetes.io~csi/model").exists()
    assert (node.leases, node.house.source.lists) == ([], 0)
    await node.volume("team-b", model="secret").mount()
    unnamed = node.volume("", model="secret")
    error = await refused(unnamed)
    assert error.code() is Code.PERMISSION_DENIED
    assert "podInfoOnMount" in str(error.details())


async def test_a_model_that_nobody_declared(node: Node) -> None:
    error = await refused(node.volume(model="none"))
    assert error.code() is Code.NOT_FOUND
    assert "none" in str(error.details())
    assert node.leases == []


async def test_a_source_that_is_down_is_asked_again(node: Node) -> None:
    node.house.source.down = True
    volume = node.volume(model="org/m")
    error = await refused(volume)
    assert error.code() is Code.UNAVAILABLE
    assert error.code() in NOT_FINAL
    node.house.source.down = False
    assert await volume.mount() == []


async def test_a_target_that_exists(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    volume.prepare()
    volume.target.mkdir()
    await volume.mount()
    assert shown(playground) == [volume.target]
    await volume.tear_down()


async def test_what_was_stacked_on_a_volume_goes_with_it(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    await volume.mount()
    run("mount", "-t", "tmpfs", "x", volume.target)
    run("mount", "--bind", "/proc/self/cwd", volume.target)
    await volume.tear_down()
    assert shown(playground) == []
    assert node.leases == []


async def test_what_was_stacked_is_no_volume(node: Node, playground: Playground) -> None:
    """Kubelet asks again after its own restart, and gets the model, not what hides it."""
    volume = node.volume(model="org/m")
    await volume.mount()
    run("mount", "-t", "tmpfs", "x", volume.target)
    await volume.set_up()
    assert shown(playground) == [volume.target]
    assert (volume.target / "f").read_text() == "model"
    assert len(node.leases) == 1


async def test_a_busy_volume_goes_all_the_same(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    await volume.mount()
    reader = os.open(volume.target / "f", os.O_RDONLY)
    try:
        await volume.tear_down()
        assert shown(playground) == []
        assert os.read(reader, 100) == b"model"
    finally:
        os.close(reader)
    assert node.driver.sample("cached_lazy_unmounts_total") == 1


async def test_unpublishing_what_is_not_there(node: Node, tmp_path: Path) -> None:
    never = node.volume(model="org/m")
    await never.tear_down()
    never.prepare()
    await never.tear_down()
    mounted_by_hand = node.volume(model="org/m")
    mounted_by_hand.prepare()
    mounted_by_hand.target.mkdir()
    run("mount", "-t", "tmpfs", "x", mounted_by_hand.target)
    await mounted_by_hand.tear_down()


async def test_what_somebody_unmounted_by_hand_is_mounted_again(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m")
    await volume.mount()
    run("umount", volume.target)
    await volume.set_up()
    assert shown(playground) == [volume.target]
    assert len(node.leases) == 1


def _text(node: Node) -> str:
    return generate_latest(node.driver.metrics.registry).decode()
