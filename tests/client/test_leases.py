"""Leases are kept alive, found again, and reported when they are lost: for threads and for loops."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from cached.client import AsyncCacheClient, AsyncModel, CacheClient, Model
from cached.core.digest import Digest
from cached.core.errors import NotFound, SourceUnavailable
from tests.client.daemon import Daemon, auntil, until

TTL = 0.6


def test_a_short_lease_is_renewed(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        lease, expires = model.lease_id, model.expires_at
        until(lambda: daemon.engine.renewals >= 3)
        until(lambda: model.expires_at > expires)
        assert (model.lease_id, model.lost) == (lease, False)
        assert [t.name for t in threading.enumerate()].count("cached-leases") == 1
    until(lambda: "cached-leases" not in [t.name for t in threading.enumerate()])


def test_a_long_lease_first_does_not_delay_a_short_one(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache:
        cache.acquire("minilm", ttl=3600)
        cache.acquire("llama", ttl=TTL)
        until(lambda: daemon.engine.renewals >= 2)


def test_a_lease_outlives_a_restart(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        lease = model.lease_id
        daemon.stop()
        threading.Event().wait(TTL)
        daemon.start()
        before = daemon.engine.renewals
        until(lambda: daemon.engine.renewals > before)
        assert (model.lease_id, model.lost) == (lease, False)


def test_a_lease_that_the_daemon_forgot_is_got_again(daemon: Daemon) -> None:
    lost: list[Model] = []
    with CacheClient(str(daemon.pods), on_lost=lost.append) as cache:
        model = cache.acquire("minilm", ttl=TTL, holder="pod-a")
        lease = model.lease_id
        daemon.engine.leases.clear()
        until(lambda: model.lease_id != lease)
        assert list(daemon.engine.leases) == [model.lease_id]
        assert daemon.engine.asked[-1] == (f"minilm@{model.tree}", TTL, "pod-a")
        assert (model.lost, lost) == (False, [])
    assert daemon.engine.leases == {}


def test_a_model_that_is_gone_for_good_is_reported(daemon: Daemon, caplog: pytest.LogCaptureFixture) -> None:
    lost: list[Model] = []
    with CacheClient(str(daemon.pods), on_lost=lost.append) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        daemon.engine.steps[f"minilm@{model.tree}"] = [NotFound("minilm is gone")]
        with caplog.at_level(logging.ERROR, "cached.client"):
            daemon.engine.leases.clear()
            until(lambda: lost)
    assert lost == [model]
    assert model.lost
    assert "lost" in repr(model)
    assert [record.message for record in caplog.records] == [
        "a model is no longer held: its files may be evicted"
    ]


def test_a_model_whose_source_is_down_is_lost_until_it_is_back(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods), on_lost=lambda model: 1 / 0) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        again = f"minilm@{model.tree}"
        daemon.engine.steps[again] = [SourceUnavailable("s3 is down")]
        daemon.engine.leases.clear()
        until(lambda: model.lost)
        del daemon.engine.steps[again]
        until(lambda: not model.lost)
        assert list(daemon.engine.leases) == [model.lease_id]


def test_another_tree_is_no_substitute(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        other = daemon.engine.ready("llama")
        assert other.tree != Digest(model.tree)
        daemon.engine.ready = lambda *_: other  # type: ignore[method-assign]
        del daemon.engine.leases[model.lease_id]
        until(lambda: model.lost)
        assert daemon.engine.leases == {}


def test_a_model_released_while_it_is_got_again_is_not_held(daemon: Daemon) -> None:
    arrived = asyncio.Event()
    with CacheClient(str(daemon.pods)) as cache:
        model = cache.acquire("minilm", ttl=TTL)
        again = f"minilm@{model.tree}"
        daemon.engine.steps[again] = [arrived]
        daemon.engine.leases.clear()
        until(lambda: daemon.engine.present[again])
        model.release()
        daemon.set(arrived)
        until(lambda: not daemon.engine.present[again])
        until(lambda: not daemon.engine.leases)


def test_getting_one_again_does_not_keep_the_others_waiting(daemon: Daemon) -> None:
    with CacheClient(str(daemon.pods)) as cache:
        slow = cache.acquire("minilm", ttl=TTL)
        cache.acquire("llama", ttl=TTL)
        again = f"minilm@{slow.tree}"
        daemon.engine.steps[again] = [asyncio.Event()]
        del daemon.engine.leases[slow.lease_id]
        until(lambda: daemon.engine.present[again])
        before = daemon.engine.renewals
        until(lambda: daemon.engine.renewals >= before + 3)


def test_giving_up_without_a_daemon_is_quick_and_quiet(daemon: Daemon) -> None:
    cache = CacheClient(str(daemon.pods))
    models = [cache.acquire("minilm") for _ in range(20)]
    daemon.stop()
    models[0].release()
    cache.close()


async def test_a_loop_renews_and_gets_again(daemon: Daemon) -> None:
    lost: list[AsyncModel] = []
    async with AsyncCacheClient(str(daemon.pods), on_lost=lost.append) as cache:
        await cache.acquire("llama", ttl=3600)
        model = await cache.acquire("minilm", ttl=TTL)
        lease = model.lease_id
        await auntil(lambda: daemon.engine.renewals >= 2)
        del daemon.engine.leases[lease]
        await auntil(lambda: model.lease_id != lease)
        assert not model.lost
        daemon.engine.steps[f"minilm@{model.tree}"] = [NotFound("minilm is gone")]
        del daemon.engine.leases[model.lease_id]
        await auntil(lambda: lost)
        assert lost == [model]
    await auntil(lambda: not daemon.engine.leases)


async def test_a_loops_lease_outlives_a_restart(daemon: Daemon) -> None:
    async with AsyncCacheClient(str(daemon.pods)) as cache:
        model = await cache.acquire("minilm", ttl=TTL)
        await asyncio.to_thread(daemon.stop)
        await asyncio.sleep(TTL)
        await asyncio.to_thread(daemon.start)
        before = daemon.engine.renewals
        await auntil(lambda: daemon.engine.renewals > before)
        assert not model.lost
