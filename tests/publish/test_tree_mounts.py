"""What readers on the sockets hold stands at a mount, for as long as they hold it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cached.core.errors import DiskFault
from cached.engine.publish import mounts as module
from tests.engine.house import open_house
from tests.publish.playground import Playground, run


@pytest.fixture
def where(playground: Playground) -> Path:
    return playground.path / "mounts"


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "f").write_text("model")
    (tmp_path / "m" / "d").mkdir()
    (tmp_path / "m" / "d" / "x").write_text("x")
    return {"m": f'source: "file://{tmp_path}/m", revision: v1'}


def points(playground: Playground) -> list[str]:
    return [mount.point for mount in playground.mounts()]


async def until_mounted(playground: Playground, expected: list[str]) -> None:
    async with asyncio.timeout(10):
        while points(playground) != expected:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.01)


async def test_it_comes_with_the_first_and_goes_with_the_last(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    receiver = playground.receiver("slave")
    async with open_house(tmp_path, models, mounts=where) as house:
        first, second = await asyncio.gather(house.ready("m"), house.ready("m"))
        assert first.path == second.path == where / first.tree.hex
        assert points(playground) == [str(first.path)]
        assert receiver.sees(first.path / "f") == "model"
        assert receiver.cannot_write(first.path)
        assert house.sample("cached_mounts") == 1
        await house.engine.release(first.lease.id)
        await asyncio.sleep(0.1)
        assert points(playground) == [str(first.path)]
        await house.engine.release(second.lease.id)
        await until_mounted(playground, [])
        assert house.sample("cached_mounts") == 0
        assert not first.path.exists()
        assert (await house.ready("m")).path.exists()


async def test_a_lease_that_expires_takes_it_away(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        ready = await house.ready("m", ttl=0.2)
        assert points(playground) == [str(ready.path)]
        await until_mounted(playground, [])


async def test_readers_that_come_and_go_at_once_never_find_it_gone(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:

        async def come_and_go(n: int) -> None:
            for _ in range(20):
                ready = await house.ready("m")
                assert (ready.path / "f").read_text() == "model"
                await asyncio.sleep(0.001 * n)
                assert (ready.path / "f").read_text() == "model"
                await house.engine.release(ready.lease.id)
                await asyncio.sleep(0.002)

        await asyncio.gather(*(come_and_go(n) for n in range(4)))
        await until_mounted(playground, [])


async def test_a_later_daemon_finds_it_and_does_not_stack(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        held = await house.ready("m")
    assert points(playground) == [str(held.path)], "a restart takes nothing from running pods"
    async with open_house(tmp_path, models, mounts=where) as house:
        await asyncio.sleep(0.1)
        again = await house.ready("m")
        assert again.path == held.path
        assert points(playground) == [str(held.path)]
        await house.engine.release(again.lease.id)
        await asyncio.sleep(0.1)
        assert points(playground) == [str(held.path)], "the lease of before holds it still"
        await house.engine.release(held.lease.id)
        await until_mounted(playground, [])


async def test_what_nobody_holds_any_more_is_cleaned_up_at_the_next_start(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    foreign = where / "foreign"
    async with open_house(tmp_path, models, mounts=where) as house:
        held = await house.ready("m")
        foreign.mkdir()
        run("mount", "-t", "tmpfs", "x", foreign)
    async with open_house(tmp_path, models) as house:
        await house.engine.release(held.lease.id)
    async with open_house(tmp_path, models, mounts=where):
        await until_mounted(playground, [str(foreign)])


async def test_a_hand_from_outside_is_put_right(
    playground: Playground,
    where: Path,
    models: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_CARE", 0.05)
    async with open_house(tmp_path, models, mounts=where) as house:
        ready = await house.ready("m")
        run("umount", ready.path)
        await until_mounted(playground, [str(ready.path)])


async def test_a_lost_model_comes_back_to_its_path(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        ready = await house.ready("m")
        lost = house.store.tree_path(ready.tree)
        (lost / "d").chmod(0o755)
        (lost / "d" / "x").unlink()
        await until_mounted(playground, [])
        again = await house.ready("m")
        assert again.path == ready.path
        assert (again.path / "d" / "x").read_text() == "x"
        await until_mounted(playground, [str(ready.path)])


async def test_a_mount_that_fails_leaves_no_lease(
    where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        os.rmdir(where)
        os.symlink("/dev/null", where)
        with pytest.raises(DiskFault, match="mounts"):
            await house.ready("m")
        assert house.store.lease_count == 0


async def test_a_directory_that_was_removed_is_made_again(
    where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        os.rmdir(where)
        assert (await house.ready("m")).path.exists()


async def test_views_have_mounts_of_their_own(
    playground: Playground, where: Path, models: dict[str, str], tmp_path: Path
) -> None:
    async with open_house(tmp_path, models, mounts=where) as house:
        flat, hub = await house.ready("m"), await house.ready("m?view=hub")
        assert sorted(points(playground)) == sorted([str(flat.path), str(hub.path)])
        assert (hub.path / "models--m" / "refs" / "main").is_file()
