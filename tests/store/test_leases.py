from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cached.core.errors import NotFound
from cached.store.holds import time_left
from cached.store.store import Store
from cached.telemetry.metrics import Metrics

from .disk import some_bytes
from .house import TurnedClock, bring, running, store_at, until

TTLS = [1.0, 10.0, 60.0, 600.0]


@dataclass
class Promise:
    """What a holder may rely on, by the seconds that really passed since it last renewed."""

    ttl: float
    sure_for: float
    over_after: float
    age: float = 0.0


class LeasesOverTime(RuleBasedStateMachine):
    """A real store, restarted at will, while time passes and somebody plays with the wall clock."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="cached-leases-"))
        self.clock = TurnedClock()
        self.promises: dict[str, Promise] = {}

    @initialize()
    def begin(self) -> None:
        self.store = self.runner.run(self._open())
        self.tree = self.runner.run(bring(self.store, {"f": b"bytes"}))

    async def _open(self) -> Store:
        return await Store.open(
            self.root, capacity=1 << 30, min_free=0, metrics=Metrics(), clock=self.clock, scrub_rate=0
        )

    @rule(ttl=st.sampled_from(TTLS))
    def grant(self, ttl: float) -> None:
        lease = self.runner.run(self.store.lease(self.tree.digest, "model", "pod", ttl))
        self.promises[lease.id] = Promise(ttl, ttl, ttl)

    @precondition(lambda self: self.promises)
    @rule(data=st.data(), ttl=st.none() | st.sampled_from(TTLS))
    def renew(self, data: st.DataObject, ttl: float | None) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.promises)))
        promise = self.promises[lease_id]
        try:
            lease = self.runner.run(self.store.renew(lease_id, ttl))
        except NotFound:
            assert promise.age >= promise.sure_for
            del self.promises[lease_id]
        else:
            assert promise.age <= promise.over_after
            assert lease.ttl == (ttl or promise.ttl)
            self.promises[lease_id] = Promise(lease.ttl, lease.ttl, lease.ttl)

    @precondition(lambda self: self.promises)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        lease_id = data.draw(st.sampled_from(sorted(self.promises)))
        self.runner.run(self.store.unlease(lease_id))
        self.runner.run(self.store.unlease(lease_id))
        del self.promises[lease_id]

    @rule(seconds=st.sampled_from([0.5, 4.0, 20.0, 29.0, 200.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_(seconds)
        for promise in self.promises.values():
            promise.age += seconds
        self.store._leasing.expire()

    @rule(seconds=st.sampled_from([-1e7, -3600.0, -20.0, 20.0, 3600.0, 1e7]))
    def somebody_sets_the_clock(self, seconds: float) -> None:
        self.clock.set_by(seconds)

    @rule(down=st.sampled_from([0.0, 5.0, 100.0]), rebooted=st.booleans())
    def restart(self, down: float, rebooted: bool) -> None:
        self.runner.run(self.store.close())
        self.clock.pass_(down)
        if rebooted:
            self.clock.since_boot = 5.0
        self.store = self.runner.run(self._open())
        for promise in self.promises.values():
            # Nobody can renew while it is down; then whoever renews within half of its time is in time.
            promise.age = 0.0
            promise.sure_for = max(promise.ttl / 2, 30.0)
            promise.over_after = max(promise.ttl, 30.0)

    @invariant()
    def holders_can_rely_on_it_and_the_dead_hold_nothing(self) -> None:
        if not hasattr(self, "store"):
            return
        in_force = {lease.id for lease in self.store.leases()}
        assert in_force <= self.promises.keys()
        for lease_id, promise in list(self.promises.items()):
            if promise.age < promise.sure_for:
                assert lease_id in in_force
            if promise.age > promise.over_after:
                assert lease_id not in in_force
            if lease_id not in in_force:
                del self.promises[lease_id]
        assert (self.store.space().held > 0) == bool(in_force)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.root)


TestLeasesOverTime = LeasesOverTime.TestCase
TestLeasesOverTime.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    ("remaining", "ttl", "left"),
    [
        (100, 600, 300),
        (500, 600, 500),
        (1e9, 600, 600),
        (-1e9, 600, 300),
        (5, 10, 30),
        (-5, 10, 30),
        (1e9, 10, 30),
    ],
)
def test_time_left_after_a_restart(remaining: float, ttl: float, left: float) -> None:
    assert time_left(remaining, ttl) == left


async def test_a_lease_survives_a_kill_once_it_is_written_behind(tmp_path: Path) -> None:
    clock = TurnedClock()
    async with store_at(tmp_path / "root", clock=clock) as store:
        tree = await bring(store, {"f": some_bytes(100)})
        lease = await store.lease(tree.digest, "model", "pod", 600)
        gone = await store.lease(tree.digest, "model", "pod", 600)
        await store.unlease(gone.id)
        index = store._parts.index
        await until(lambda: not index._behind and not index._writing)
        shutil.copytree(tmp_path / "root", tmp_path / "as killed")
    async with store_at(tmp_path / "as killed", clock=clock) as store:
        (found,) = store.leases(tree.digest)
        assert (found.id, found.ref, found.holder, found.ttl) == (lease.id, "model", "pod", 600)


async def test_nobody_leases_what_is_not_here(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = await bring(store, {"f": some_bytes(100)})
        await store.evict(tree.digest)
        with pytest.raises(NotFound):
            await store.lease(tree.digest, "model", "pod", 600)


async def test_expired_leases_go_by_themselves(tmp_path: Path) -> None:
    clock = TurnedClock()
    async with store_at(tmp_path / "root", clock=clock) as store, running(store):
        tree = await bring(store, {"f": some_bytes(100)})
        lease = await store.lease(tree.digest, "model", "pod", 10)
        clock.pass_(11)
        with pytest.raises(NotFound):
            await store.renew(lease.id, None)
        await until(lambda: not store.lease_count)
        assert store.space().held == 0


async def test_a_released_tree_counts_as_used_until_then(tmp_path: Path) -> None:
    clock = TurnedClock()
    async with store_at(tmp_path / "root", clock=clock) as store:
        first = await bring(store, {"f": b"1"}, "first")
        lease = await store.lease(first.digest, "first", "pod", 600)
        clock.pass_(100)
        second = await bring(store, {"f": b"2"}, "second")
        await store.unlease(lease.id)
        assert store.last_use(first.digest) == clock.now()
        assert list(store._parts.state.ledger.idle) == [second.digest, first.digest]
