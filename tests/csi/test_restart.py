"""Drivers that come and go between two calls of kubelet's, and kubelets that forget."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from cached.engine.engine import EngineOptions
from cached.engine.publish import standing
from tests.csi.kubelet import Kubelet, Mounter
from tests.csi.node import Driver, driving, open_node, refused, serving, shown
from tests.engine.house import House, open_house
from tests.publish.playground import Playground, run

Code = grpc.StatusCode


@pytest.fixture
def kubelet(playground: Playground) -> Kubelet:
    return Kubelet(playground.path / "kubelet")


@asynccontextmanager
async def life(
    playground: Playground, kubelet: Kubelet, models: dict[str, str]
) -> AsyncIterator[tuple[House, Driver]]:
    """One process of the daemon, in short; the next finds what it left."""
    async with (
        driving(playground, kubelet) as driver,
        open_house(playground.path / "house", models) as house,
        serving(driver, house),
    ):
        yield house, driver


def volume_of(kubelet: Kubelet, **attributes: str) -> Mounter:
    return kubelet.pod().volume(attributes)


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


async def test_unpublishing_works_before_the_engine_does(
    playground: Playground, kubelet: Kubelet, models: dict[str, str]
) -> None:
    volume, other = volume_of(kubelet, model="org/m"), volume_of(kubelet, model="moving")
    async with life(playground, kubelet, models):
        await volume.mount()
        await other.mount()
    assert shown(playground) == [volume.target, other.target], "a restart takes nothing from running pods"
    async with driving(playground, kubelet) as driver:
        await volume.tear_down()
        assert shown(playground) == [other.target]
        error = await refused(volume)
        assert error.code() is Code.UNAVAILABLE
        assert "starting" in str(error.details())
        async with open_house(playground.path / "house", models) as house, serving(driver, house):
            assert [lease.holder for lease in house.store.leases()] == [f"csi/{other.id}"]
            await other.tear_down()
            assert house.store.leases() == []


async def test_the_next_process_knows_what_is_published(
    playground: Playground, kubelet: Kubelet, models: dict[str, str]
) -> None:
    volume = volume_of(kubelet, model="org/m")
    async with life(playground, kubelet, models) as (house, _):
        await volume.mount()
        before = house.store.leases()
    async with life(playground, kubelet, models) as (house, driver):
        assert [lease.id for lease in house.store.leases()] == [lease.id for lease in before]
        assert driver.sample("cached_volumes", model="org/m") == 1
        house.source.down = True
        await volume.set_up()
        assert shown(playground) == [volume.target]
        assert len(house.store.leases()) == 1
        error = await refused(volume.pod.volume({"model": "moving"}))
        assert error.code() is Code.ALREADY_EXISTS
        await volume.tear_down()
        assert (shown(playground), house.store.leases()) == ([], [])


async def test_a_model_that_moved_on_meanwhile_is_still_what_was_asked_for(
    playground: Playground, kubelet: Kubelet, models: dict[str, str], tmp_path: Path
) -> None:
    """Kubelet asks again for what runs already when it restarts; the pod keeps what it has."""
    moving, pinned = volume_of(kubelet, model="moving"), volume_of(kubelet, model="org/m")
    async with life(playground, kubelet, models):
        await moving.mount()
        await pinned.mount()
    (tmp_path / "source" / "f").write_text("another model")
    models["org/m"] = models["org/m"].replace("v1", "v2")
    async with life(playground, kubelet, models) as (house, _):
        await moving.set_up()
        await pinned.set_up()
        assert (moving.target / "f").read_text() == "model"
        assert (pinned.target / "f").read_text() == "model"
        assert len(house.store.leases()) == 2
        error = await refused(pinned.pod.volume({"model": "org/m", "revision": "v2"}))
        assert error.code() is Code.ALREADY_EXISTS


async def test_a_lease_that_was_lost_is_taken_anew(
    playground: Playground, kubelet: Kubelet, models: dict[str, str]
) -> None:
    volume = volume_of(kubelet, model="org/m")
    async with life(playground, kubelet, models):
        await volume.mount()
    async with open_house(playground.path / "house", models) as house:
        [lease] = house.store.leases()
        await house.engine.release(lease.id)
    async with life(playground, kubelet, models) as (house, _):
        [again] = house.store.leases()
        assert (again.holder, again.ref, again.tree) == (lease.holder, lease.ref, lease.tree)
        await volume.set_up()
        assert len(house.store.leases()) == 1


async def test_leases_are_renewed_for_as_long_as_the_volume_is_there(
    playground: Playground, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_CARE", 0.05)
    async with open_node(playground, models) as node:
        volume = node.volume(model="org/m")
        await volume.mount()
        [first] = node.leases
        await until(lambda: node.leases[0].deadline > first.deadline)
        await node.house.engine.release(first.id)
        await until(lambda: node.leases)
        [second] = node.leases
        assert (second.id != first.id, second.holder, second.ref) == (True, first.holder, first.ref)
        await volume.tear_down()
        assert node.leases == []


async def test_leases_that_may_only_be_short_are_renewed_in_time(
    playground: Playground, models: dict[str, str]
) -> None:
    options = EngineOptions(default_ttl=1.0, max_ttl=1.0)
    async with open_node(playground, models, options=options) as node:
        volume = node.volume(model="org/m")
        await volume.mount()
        [first] = node.leases
        await until(lambda: node.leases[0].deadline > first.deadline + 1.5)
        assert [lease.id for lease in node.leases] == [first.id]


async def test_a_model_that_was_lost_under_a_pod(
    playground: Playground,
    models: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(standing, "_CARE", 0.05)
    async with open_node(playground, models) as node:
        volume = node.volume(model="org/m")
        await volume.mount()
        [lease] = node.leases
        await node.house.engine.release(lease.id)
        await node.house.engine.evict("org/m")
        await until(lambda: "its pod needs a restart" in caplog.text)
        assert node.leases == []
        await volume.set_up()
        assert (volume.target / "f").read_text() == "model"
        assert shown(playground) == [volume.target]


@pytest.mark.parametrize("note", ["none", "another driver", "not JSON", "a list", "a link"])
async def test_mounts_that_are_none_of_its_own_are_left_alone(
    playground: Playground, kubelet: Kubelet, models: dict[str, str], note: str
) -> None:
    """The volume's note by kubelet decides; a strange one is nobody's."""
    volume = volume_of(kubelet, model="org/m")
    async with life(playground, kubelet, models):
        await volume.mount()
    path = volume.target.parent / "vol_data.json"
    said = json.loads(path.read_text())
    path.unlink()
    if note == "another driver":
        path.write_text(json.dumps({**said, "driverName": "csi.other.dev"}))
    elif note == "a link":
        (playground.path / "elsewhere").write_text(json.dumps(said))
        path.symlink_to(playground.path / "elsewhere")
    elif note != "none":
        path.write_text("[" * 100_000 if note == "not JSON" else '["a"]')
    async with life(playground, kubelet, models) as (house, driver):
        assert house.store.leases() == []
        assert shown(playground) == [volume.target]
        assert driver.sample("cached_volumes", model="org/m") == 0
        await volume.set_up()
        assert len(house.store.leases()) == 1
        assert shown(playground) == [volume.target]


async def test_what_is_shown_is_gone_at_the_next_start(
    playground: Playground, kubelet: Kubelet, models: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    volume = volume_of(kubelet, model="org/m")
    async with life(playground, kubelet, models):
        await volume.mount()
    shutil.rmtree(playground.path / "house" / "root")
    async with life(playground, kubelet, models) as (house, _):
        assert "is here no more" in caplog.text
        assert house.store.leases() == []
        await volume.set_up()
        assert (volume.target / "f").read_text() == "model"
        await volume.tear_down()
        assert shown(playground) == []


async def test_pods_that_vanish_without_a_word(
    playground: Playground, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "_CARE", 0.05)
    async with open_node(playground, models) as node:
        there, coming = node.volume(model="org/m"), node.volume(model="other")
        await there.mount()
        node.house.source.gate.clear()
        assert (await refused(coming, seconds=0.5)).code() is Code.ABORTED
        run("umount", there.target)
        shutil.rmtree(there.pod.directory)
        shutil.rmtree(coming.pod.directory)
        await until(lambda: node.driver.sample("cached_volumes_reaped_total") == 2)
        await until(lambda: not node.leases)
        async with asyncio.timeout(5):
            while (await node.house.engine.status()).flight_count:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)


async def test_a_stop_gives_up_what_was_coming(
    playground: Playground, kubelet: Kubelet, models: dict[str, str]
) -> None:
    volume = volume_of(kubelet, model="org/m")
    async with driving(playground, kubelet) as driver:
        async with open_house(playground.path / "house", models) as house:
            house.source.gate.clear()
            async with serving(driver, house):
                asking = asyncio.create_task(volume.set_up())
                await asyncio.sleep(0.2)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asking
            assert caught.value.code() is Code.UNAVAILABLE
        assert (await refused(volume)).code() is Code.UNAVAILABLE
    assert shown(playground) == []
    async with life(playground, kubelet, models):
        assert await volume.mount() == []
