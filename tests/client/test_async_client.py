"""The client for an event loop, over real sockets."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from cached.client import AsyncCacheClient, Cancelled, NotVisible, Progress, TimedOut, Unreachable
from cached.core.errors import Draining, NoSpace
from tests.client.daemon import Daemon, auntil
from tests.serve.fake_engine import HALFWAY, MIB, RESOLVED


async def test_a_model_by_name(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, HALFWAY]
    seen: list[Progress] = []
    async with AsyncCacheClient(str(daemon.pods), holder="pod-a") as cache:
        async with await cache.acquire("minilm", ttl=60, on_progress=seen.append) as model:
            assert os.listdir(model.path) == ["config.json"]
            assert list(daemon.engine.leases) == [model.lease_id]
        assert daemon.engine.leases == {}
        await cache.acquire("llama")
    assert daemon.engine.leases == {}
    assert seen == [Progress(total=90 * MIB, done=10 * MIB, found=10 * MIB), HALFWAY]
    assert daemon.engine.asked == [("minilm", 60, "pod-a"), ("llama", None, "pod-a")]


async def test_errors_come_back_as_they_were_raised(daemon: Daemon) -> None:
    error = NoSpace("no room", needed=9, free=1, held=7, hint="release something")
    daemon.engine.steps["minilm"] = [RESOLVED, error]
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        with pytest.raises(NoSpace) as caught:
            await cache.acquire("minilm")
    assert vars(caught.value) == vars(error)


async def test_a_cancelled_task_leaves_the_daemon(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, asyncio.Event()]
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await cache.acquire("minilm")
        await auntil(lambda: daemon.engine.present["minilm"] == 0)


async def test_a_timeout_says_how_far_it_came(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [RESOLVED, asyncio.Event()]
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        with pytest.raises(TimedOut, match=r"10\.0 MiB of 90\.0 MiB"):
            await cache.acquire("minilm", timeout=0.3)


async def test_close_ends_a_call_of_another_task(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [asyncio.Event()]
    cache = AsyncCacheClient(str(daemon.pods))
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(expect_cancelled(cache))
        await auntil(lambda: daemon.engine.present["minilm"])
        await cache.close()
    assert reading.result() == "the client was closed"
    with pytest.raises(Cancelled):
        await cache.acquire("minilm")


async def expect_cancelled(cache: AsyncCacheClient) -> str:
    with pytest.raises(Cancelled) as caught:
        await cache.acquire("minilm")
    return caught.value.message


async def test_a_daemon_that_is_not_up_yet_is_waited_for(daemon: Daemon) -> None:
    daemon.stop()
    async with AsyncCacheClient(str(daemon.pods)) as cache, asyncio.TaskGroup() as group:
        reading = group.create_task(cache.acquire("minilm", timeout=20))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(daemon.start)
        assert (await reading).path.is_dir()


async def test_a_daemon_that_never_comes_is_named(daemon: Daemon) -> None:
    daemon.stop()
    began = time.monotonic()
    async with AsyncCacheClient(str(daemon.pods), wait=0.3) as cache:
        with pytest.raises(Unreachable, match=str(daemon.pods)):
            await cache.acquire("minilm")
    assert time.monotonic() - began < 3


async def test_close_ends_the_waiting_for_a_daemon(daemon: Daemon) -> None:
    daemon.engine.steps["minilm"] = [Draining("the daemon stops")]
    cache = AsyncCacheClient(str(daemon.pods))
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(expect_cancelled(cache))
        await auntil(lambda: len(daemon.engine.asked) > 1)
        await cache.close()
    assert reading.done()


async def test_a_missing_mount_is_explained_and_holds_nothing(daemon: Daemon) -> None:
    ready = daemon.engine.ready("minilm")
    (ready.path / ready.sample_file).unlink()
    daemon.engine.ready = lambda *_: ready  # type: ignore[method-assign]
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        with pytest.raises(NotVisible):
            await cache.acquire("minilm")
        assert daemon.engine.leases == {}


async def test_many_tasks_share_a_client(daemon: Daemon) -> None:
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        models = await asyncio.gather(*(cache.acquire(f"m{n % 5}") for n in range(200)))
        assert len({model.lease_id for model in models}) == 200
    assert daemon.engine.leases == {}
