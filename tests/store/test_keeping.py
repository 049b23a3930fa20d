"""Blobs without a tree: kept for a while, then evicted before any tree, oldest first."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Corrupt, NoSpace, NotFound
from cached.store.layout import Layout
from cached.store.ledger import footprint
from cached.store.store import Store
from cached.telemetry.metrics import Metrics

from .disk import some_bytes
from .house import (
    MIB,
    TurnedClock,
    assert_accounts_equal_the_disk,
    bring,
    fill,
    running,
    store_at,
    tree_of,
    until,
)

SIZE = 300_000
ROOM = footprint(SIZE)
A, B, C, D, E = (some_bytes(SIZE, seed) for seed in range(5))


def blob(data: bytes) -> Digest:
    return Digest.sha256(data)


async def pass_through(store: Store, *contents: bytes) -> None:
    """As `bring`, but nothing is published: blobs without a tree."""
    reservation = await store.reserve(tree_of({str(number): data for number, data in enumerate(contents)}))
    try:
        for data in contents:
            await store.commit(reservation, await fill(store, reservation, data))
    finally:
        await store.release(reservation)


def here(store: Store, *contents: bytes) -> list[bool]:
    return [store.has_blob(blob(data)) for data in contents]


def spoil(store: Store, data: bytes) -> None:
    """The blob's first byte is another on disk."""
    path = Layout(store.root).blob(blob(data))
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
    path.chmod(0o444)


class TestWithoutATree:
    async def test_blobs_stay_and_survive_a_restart(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await pass_through(store, A, B)
            space = store.space()
            assert (space.used, space.reserved, space.held) == (2 * ROOM, 0, 0)
            assert (store.blob_count, store.tree_count) == (2, 0)
            assert_accounts_equal_the_disk(store)
        async with store_at(tmp_path / "root") as store:
            assert here(store, A, B) == [True, True]
            assert store.space().used == 2 * ROOM
            assert not store.missing(tree_of({"a": A, "b": B}))
            assert_accounts_equal_the_disk(store)

    async def test_they_go_before_any_tree_oldest_first_after_a_restart_too(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=4 * ROOM) as store:
            tree = await bring(store, {"f": A})
            for data in (B, C, D):
                await pass_through(store, data)
            await pass_through(store, E)
            assert here(store, B, C, D, E) == [False, True, True, True]
        async with store_at(tmp_path / "root", capacity=4 * ROOM) as store:
            await pass_through(store, B)
            assert here(store, C, D, E, B) == [False, True, True, True]
            assert store.is_warm(tree.digest)
        async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
            assert here(store, D, E, B) == [False, False, True], "trimmed at the start"
            assert store.is_warm(tree.digest)
            assert_accounts_equal_the_disk(store)

    async def test_verify_and_scrub_read_them(self, tmp_path: Path) -> None:
        clock, metrics = TurnedClock(), Metrics()
        async with store_at(tmp_path / "root", clock=clock, scrub_rate=1 << 30, metrics=metrics) as store:
            await pass_through(store, A, B, C)
            spoil(store, B)
            reports = [report async for report in store.verify(None)]
            assert reports[-1].total == 3 * SIZE
            assert [found for report in reports for found in report.corrupt] == [(blob(B), ())]
            assert here(store, A, B, C) == [True, False, True]
            spoil(store, C)
            async with running(store):
                await until(lambda: store.scrub_status().last_round)
            assert (store.scrub_status().blob_count, store.scrub_status().corrupt_count) == (2, 1)
            assert here(store, A, B, C) == [True, False, False]
            assert store.space().used == 3 * ROOM, "two of them in quarantine"
            assert_accounts_equal_the_disk(store)


class TestKeep:
    async def test_what_is_kept_is_held_until_its_time_is_over(self, tmp_path: Path) -> None:
        clock = TurnedClock()
        async with store_at(tmp_path / "root", capacity=3 * ROOM, clock=clock) as store, running(store):
            await pass_through(store, A, B)
            store.keep(blob(A), 60)
            store.keep(blob(A), 5)
            assert store.space().held == ROOM
            with pytest.raises(NoSpace):
                await store.reserve(tree_of({"c": C, "d": D, "e": E}))
            await pass_through(store, C)
            clock.set_by(1e6)
            clock.pass_(59)
            store._keeping.expire()
            await pass_through(store, D)
            assert here(store, A, B, C, D) == [True, False, True, True]
            clock.pass_(1)
            await until(lambda: not store.space().held)
            await pass_through(store, E, B)
            assert here(store, A, C, D, E, B) == [True, False, False, True, True], "the newest of them"

    async def test_it_goes_on_from_a_later_keep_and_ends_when_let_go(self, tmp_path: Path) -> None:
        clock = TurnedClock()
        async with store_at(tmp_path / "root", clock=clock) as store:
            await pass_through(store, A)
            store.keep(blob(A), 60)
            clock.pass_(50)
            store.keep(blob(A), 60)
            clock.pass_(50)
            store._keeping.expire()
            assert store.space().held == ROOM
            store.let_go(blob(A))
            store.let_go(blob(A))
            assert store.space().held == 0
            assert_accounts_equal_the_disk(store)

    async def test_what_ends_at_once_goes_in_the_order_of_its_time(self, tmp_path: Path) -> None:
        clock = TurnedClock()
        async with store_at(tmp_path / "root", clock=clock) as store:
            await pass_through(store, A, B, C)
            for data, seconds in ((A, 30), (B, 10), (C, 20)):
                store.keep(blob(data), seconds)
            clock.pass_(60)
            store._keeping.expire()
            assert list(store._parts.state.ledger.loose) == [blob(B), blob(C), blob(A)]

    async def test_nothing_happens_for_what_is_not_here(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            store.keep(blob(A), 60)
            flight = await store.reserve(tree_of({"f": A}))
            await fill(store, flight, A)
            await store.release(flight)
            store.keep(blob(A), 60)
            assert store._parts.state.ledger.dormant == ROOM, "a stage that nobody fills gives way"
            store.let_go(blob(A))
            assert_accounts_equal_the_disk(store)

    @pytest.mark.parametrize("keep_stages", [True, False])
    async def test_a_flight_that_ends_without_it_ends_it(self, tmp_path: Path, keep_stages: bool) -> None:
        async with store_at(tmp_path / "root") as store:
            flights = [await store.reserve(tree_of({"f": A, "g": B})) for _ in range(2)]
            await fill(store, flights[0], A)
            for data in (A, B):
                store.keep(blob(data), 60)
            await store.release(flights[0], keep_stages=keep_stages)
            assert store.space().reserved == 2 * ROOM
            assert store._parts.state.ledger.dormant == 0
            await store.release(flights[1])
            assert store.space().reserved == (ROOM if keep_stages else 0)
            assert store._parts.state.ledger.dormant == store.space().reserved
            assert_accounts_equal_the_disk(store)

    async def test_what_is_in_flight_is_kept_once_it_is_complete(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": A}))
            store.keep(blob(A), 60)
            assert store.space().held == 0
            await store.commit(flight, await fill(store, flight, A))
            await store.release(flight)
            assert store.space().held == ROOM
            store.let_go(blob(A))
            assert store.space().held == 0
            assert_accounts_equal_the_disk(store)

    @pytest.mark.parametrize("flying", [False, True])
    async def test_what_is_lost_is_kept_no_longer(self, tmp_path: Path, flying: bool) -> None:
        async with store_at(tmp_path / "root") as store:
            await pass_through(store, A)
            store.keep(blob(A), 60)
            flight = await store.reserve(tree_of({"f": A if flying else B}))
            spoil(store, A)
            async for _ in store.verify(None):
                pass
            assert store.space().held == 0
            await store.release(flight)
            assert store.space().used == ROOM, "in quarantine"
            store.let_go(blob(A))
            assert_accounts_equal_the_disk(store)
            await pass_through(store, A)
            assert store.space().held == 0
            assert_accounts_equal_the_disk(store)

    async def test_it_outlives_the_tree_that_used_it_but_no_restart(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": A, "b": B})
            store.keep(blob(A), 60)
            assert await store.evict(tree.digest) == ROOM
            assert here(store, A, B) == [True, False]
            assert_accounts_equal_the_disk(store)
        async with store_at(tmp_path / "root") as store:
            assert here(store, A) == [True]
            assert store.space().held == 0


class TestDemote:
    async def test_the_demoted_go_first_in_their_order_until_they_are_used(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=4 * ROOM) as store:
            a, b, c, d = [
                await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"), (C, "c"), (D, "d"))
            ]
            for tree in (d, b, c):
                store.demote(tree.digest)
            store.touch(d.digest)
            await bring(store, {"f": E}, "e")
            assert [store.is_warm(tree.digest) for tree in (a, b, c, d)] == [True, False, True, True]

    @pytest.mark.parametrize("use", ["touch", "lease", "publish", "nothing"])
    async def test_it_survives_a_restart_until_a_use(self, tmp_path: Path, use: str) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            a, b, c = [await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"), (C, "c"))]
            used_at = store.last_use(c.digest)
            store.demote(c.digest)
            store.demote(b.digest)
            assert store.last_use(c.digest) == used_at
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            assert store.last_use(c.digest) == used_at
            if use == "touch":
                store.touch(c.digest)
            elif use == "lease":
                await store.unlease((await store.lease(c.digest, "c", "pod", 60)).id)
            elif use == "publish":
                flight = await store.reserve(c)
                await store.publish(flight)
                await store.release(flight)
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            await bring(store, {"f": D}, "d")
            used = use != "nothing"
            assert [store.is_warm(tree.digest) for tree in (a, b, c)] == [True, not used, used]
            store.demote(a.digest)
            await bring(store, {"f": E}, "e")
            assert [store.is_warm(tree.digest) for tree in (a, b, c)] == [not used, False, used]

    async def test_what_is_held_stays_and_what_is_not_here_is_no_matter(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
            a, b = [await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"))]
            lease = await store.lease(b.digest, "b", "pod", 60)
            store.demote(b.digest)
            store.demote(tree_of({"f": C}).digest)
            await bring(store, {"f": C}, "c")
            assert [store.is_warm(tree.digest) for tree in (a, b)] == [False, True]
            await store.unlease(lease.id)


class TestRead:
    async def test_a_small_blob_whole(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await pass_through(store, A)
            await bring(store, {"empty": b""})
            assert await store.read_blob(blob(A), SIZE) == A
            assert await store.read_blob(blob(b""), 0) == b""
            with pytest.raises(Corrupt):
                await store.read_blob(blob(A), SIZE - 1)

    async def test_what_is_not_complete_is_not_read(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": A}))
            await fill(store, flight, A)
            for data in (A, B):
                with pytest.raises(NotFound):
                    await store.read_blob(blob(data), MIB)
            await store.release(flight)
            await pass_through(store, C)
            Layout(store.root).blob(blob(C)).unlink()
            with pytest.raises(NotFound):
                await store.read_blob(blob(C), MIB)
