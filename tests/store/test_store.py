from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pytest

from cached.core.digest import Digest
from cached.core.errors import Busy, Corrupt, DiskFault, InUse, NoSpace, NotFound, TooLarge
from cached.core.tree import Tree, TreeFile
from cached.kit.pool import Pool
from cached.kit.units import Share
from cached.store import trees
from cached.store.index import Index
from cached.store.layout import Layout
from cached.store.ledger import footprint
from cached.store.store import PinnedBy
from cached.telemetry.metrics import Metrics

from .disk import mounted, put, run, some_bytes
from .house import (
    MIB,
    assert_accounts_equal_the_disk,
    bring,
    bytes_on_disk,
    fill,
    running,
    store_at,
    tree_of,
    until,
)

P = ParamSpec("P")
T = TypeVar("T")

SIZE = 300_000
ROOM = footprint(SIZE)
A, B, C, D, E = (some_bytes(SIZE, seed) for seed in range(5))


def blob(data: bytes) -> Digest:
    return Digest.sha256(data)


def open_paths() -> list[Path]:
    """What this process has open, once for each time."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(link.readlink())
    return found


async def test_what_was_brought_is_warm_and_stays_so(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = await bring(store, {"a": A, "sub/b": B})
        assert store.is_warm(tree.digest)
        assert (store.tree_path(tree.digest) / "sub/b").read_bytes() == B
        assert_accounts_equal_the_disk(store)
    async with store_at(tmp_path / "root") as store:
        assert store.is_warm(tree.digest)
        assert store.tree(tree.digest) == tree
        record = store.ref("model")
        assert record is not None
        assert (record.tree, record.source) == (tree.digest, "file:///somewhere")
        assert_accounts_equal_the_disk(store)


async def test_a_blob_in_two_trees_counts_once(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        one = await bring(store, {"a": A, "b": B}, "one")
        two = await bring(store, {"b": B, "c": C}, "two")
        assert store.space().used == 3 * ROOM
        assert await store.evict(one.digest) == ROOM
        assert store.is_warm(two.digest)
        assert (store.tree_path(two.digest) / "b").read_bytes() == B
        assert_accounts_equal_the_disk(store)
        assert await store.evict(two.digest) == 2 * ROOM
        assert store.space().used == 0
        assert_accounts_equal_the_disk(store)


async def test_a_shared_blob_in_flight_is_promised_once(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        first = await store.reserve(tree_of({"a": A, "b": B}))
        second = await store.reserve(tree_of({"b": B, "c": C}))
        assert store.space().reserved == 3 * ROOM
        await store.release(first)
        assert store.space().reserved == 2 * ROOM, "B moved over to the second"
        await store.commit(second, await fill(store, second, B))
        assert (store.space().used, store.space().reserved) == (ROOM, ROOM)
        await store.release(second)
        assert_accounts_equal_the_disk(store)


class TestMakingRoom:
    async def test_the_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            brought = [await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"), (C, "c"))]
            store.touch(brought[0].digest)
            await bring(store, {"f": D}, "d")
            assert [store.is_warm(tree.digest) for tree in brought] == [True, False, True]
            assert_accounts_equal_the_disk(store)

    async def test_the_order_survives_a_restart_and_a_clock_set_back(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            brought = [await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"), (C, "c"))]
            store._parts.clock.set_by(-1e6)  # type: ignore[attr-defined]
            store.touch(brought[0].digest)
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            new = await bring(store, {"f": D}, "d")
            assert [store.is_warm(tree.digest) for tree in brought] == [True, False, True]
            await bring(store, {"f": E}, "e")
            assert [store.is_warm(tree.digest) for tree in (*brought, new)] == [True, False, False, True]

    async def test_what_is_leased_or_pinned_stays(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            leased = await bring(store, {"f": A}, "a")
            pinned = await bring(store, {"f": B}, "b")
            neither = await bring(store, {"f": C}, "c")
            lease = await store.lease(leased.digest, "a", "pod", 60)
            await store.pin("b", PinnedBy.OPERATOR)
            assert store.space().held == 2 * ROOM
            await bring(store, {"f": D}, "d")
            assert store.is_warm(leased.digest)
            assert store.is_warm(pinned.digest)
            assert not store.is_warm(neither.digest)
            await store.unlease(lease.id)
            await store.unpin("b", PinnedBy.OPERATOR)
            assert store.space().held == 0

    async def test_no_space_says_why_and_takes_nothing(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            held = await bring(store, {"f": A, "g": B}, "a")
            other = await bring(store, {"f": C}, "c")
            await store.pin("a", PinnedBy.CATALOG)
            with pytest.raises(NoSpace) as refused:
                await store.reserve(tree_of({"f": D, "g": E}))
            assert (refused.value.needed, refused.value.free, refused.value.held) == (2 * ROOM, 0, 2 * ROOM)
            assert "capacity" in refused.value.hint
            assert store.is_warm(held.digest)
            assert store.is_warm(other.digest)
            assert store.space().reserved == 0

    async def test_too_large_for_the_whole_cache(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            kept = await bring(store, {"f": A})
            with pytest.raises(TooLarge):
                await store.reserve(tree_of({"f": A, "g": B, "h": C, "i": D}))
            assert store.is_warm(kept.digest)

    async def test_leftovers_go_before_any_tree(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=4 * ROOM) as store:
            tree = await bring(store, {"f": A}, "a")
            broken_off = await store.reserve(tree_of({"f": B, "g": C}))
            await store.commit(broken_off, await fill(store, broken_off, B))
            await fill(store, broken_off, C)
            await store.release(broken_off)
            assert (store.space().used, store.space().reserved) == (2 * ROOM, ROOM)
            await bring(store, {"f": D, "g": E}, "d")
            assert store.is_warm(tree.digest)
            assert store.space().used + store.space().reserved == 4 * ROOM, "only one leftover had to go"
            assert_accounts_equal_the_disk(store)

    async def test_a_present_blob_of_a_running_flight_stays(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            old = await bring(store, {"f": A, "g": B}, "old")
            flight = await store.reserve(tree_of({"f": A, "h": C}))
            with pytest.raises(NoSpace):
                await store.reserve(tree_of({"f": D, "g": E}))
            await bring(store, {"f": D}, "d")
            assert not store.is_warm(old.digest)
            assert store.has_blob(blob(A))
            await store.commit(flight, await fill(store, flight, C))
            path = await store.publish(flight)
            await store.release(flight)
            assert (path / "f").read_bytes() == A
            assert_accounts_equal_the_disk(store)

    async def test_a_lowered_capacity_is_kept_at_the_next_start(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            brought = [await bring(store, {"f": data}, ref) for data, ref in ((A, "a"), (B, "b"), (C, "c"))]
            await store.pin("a", PinnedBy.OPERATOR)
        async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
            assert [store.is_warm(tree.digest) for tree in brought] == [True, False, True]
            assert not store.warnings
            assert_accounts_equal_the_disk(store)
            await store.pin("c", PinnedBy.OPERATOR)
        async with store_at(tmp_path / "root", capacity=ROOM) as store:
            assert [store.is_warm(tree.digest) for tree in brought] == [True, False, True], "both are held"
            assert "capacity" in store.warnings[0]

    async def test_others_may_fill_the_disk(self, tmp_path: Path) -> None:
        with mounted("tmpfs", tmp_path / "disk", 10) as disk:
            async with store_at(disk / "root", capacity=64 * MIB, min_free=MIB) as store:
                old = await bring(store, {"f": some_bytes(2 * MIB, 1)}, "old")
                theirs = disk / "theirs"
                theirs.write_bytes(bytes(4 * MIB))
                await bring(store, {"f": some_bytes(MIB, 2)}, "new")
                assert not store.is_warm(old.digest), "min_free was in danger"
                assert store.space().filesystem_free >= MIB
                with pytest.raises(NoSpace) as refused:
                    await store.reserve(tree_of({"f": some_bytes(3 * MIB, 3)}))
                assert "min_free" in refused.value.hint
                assert store.tree_count == 1, "nothing went in vain"
                assert theirs.stat().st_size == 4 * MIB
                theirs.unlink()
                await bring(store, {"f": some_bytes(3 * MIB, 3)}, "newer")
                assert_accounts_equal_the_disk(store)

    async def test_what_others_need_is_given_back_unasked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cached.store.room._TICK", 0.02)
        metrics = Metrics()
        with mounted("tmpfs", tmp_path / "disk", 10) as disk:
            async with store_at(disk / "root", min_free=2 * MIB, metrics=metrics) as store, running(store):
                for number in range(4):
                    await bring(store, {"f": some_bytes(MIB, number)}, f"model-{number}")
                await store.pin("model-0", PinnedBy.OPERATOR)
                (disk / "theirs").write_bytes(bytes(3 * MIB))
                await until(lambda: store.space().filesystem_free >= 2 * MIB)
                assert store.tree_count == 2
                assert store.has_blob(blob(some_bytes(MIB, 0)))
                (disk / "more").write_bytes(bytes(2 * MIB))
                await until(lambda: store.tree_count == 1)
                assert store.has_blob(blob(some_bytes(MIB, 0))), "pinned"
                freed = metrics.registry.get_sample_value(
                    "cached_evicted_bytes_total", {"reason": "min_free"}
                )
                assert freed == 3 * MIB
                assert_accounts_equal_the_disk(store)

    async def test_a_disk_that_others_filled_after_the_promise(self, tmp_path: Path) -> None:
        with mounted("tmpfs", tmp_path / "disk", 10) as disk:
            async with store_at(disk / "root") as store:
                await bring(store, {"f": A}, "held")
                await store.pin("held", PinnedBy.OPERATOR)
                flight = await store.reserve(tree_of({"f": some_bytes(4 * MIB)}))
                (disk / "theirs").write_bytes(bytes(6 * MIB))
                with pytest.raises(NoSpace) as refused:
                    await fill(store, flight, some_bytes(4 * MIB))
                assert refused.value.held == ROOM
                assert refused.value.free < 2 * MIB
                await store.release(flight)
                assert_accounts_equal_the_disk(store)

    async def test_promises_not_written_yet_count_against_the_disk(self, tmp_path: Path) -> None:
        with mounted("tmpfs", tmp_path / "disk", 10) as disk:
            async with store_at(disk / "root", capacity=64 * MIB, min_free=MIB) as store:
                first = await store.reserve(tree_of({"f": some_bytes(4 * MIB, 1)}))
                with pytest.raises(NoSpace):
                    await store.reserve(tree_of({"f": some_bytes(4 * MIB, 2)}))
                await fill(store, first, some_bytes(4 * MIB, 1))
                second = await store.reserve(tree_of({"f": some_bytes(2 * MIB, 2)}))
                await store.release(first)
                await store.release(second)

    async def test_what_cannot_be_deleted_stays_in_the_accounts(self, tmp_path: Path) -> None:
        with mounted("ext4", tmp_path / "disk", 64) as disk:
            async with store_at(disk / "root") as store:
                tree = await bring(store, {"f": A, "g": B})
                stuck = Layout(store.root).blob(max(blob(A), blob(B))).parent
                run("chattr", "+i", stuck)
                try:
                    with pytest.raises(DiskFault):
                        await store.evict(tree.digest)
                finally:
                    run("chattr", "-i", stuck)
                assert not store.is_warm(tree.digest)
                assert store.space().used == bytes_on_disk(store.root)[0]
                await bring(store, {"f": A, "g": B})
                assert_accounts_equal_the_disk(store)


class TestAFlight:
    async def test_what_was_verified_is_resumed(self, tmp_path: Path) -> None:
        data = some_bytes(3 * MIB + 5)
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": data}))
            stage = await store.stage(flight, blob(data), len(data))
            await asyncio.to_thread(put, stage, data, [0, 2])
            assert store.present_bytes(flight.tree) == 2 * MIB
            await store.release(flight)
            assert store.space().reserved == footprint(len(data))
            assert_accounts_equal_the_disk(store)
        async with store_at(tmp_path / "root") as store:
            assert store.space().reserved == footprint(len(data))
            assert store.present_bytes(flight.tree) == 2 * MIB
            flight = await store.reserve(flight.tree)
            stage = await store.stage(flight, blob(data), len(data))
            assert list(stage.missing()) == [1, 3]
            await asyncio.to_thread(put, stage, data)
            await store.commit(flight, stage)
            await store.publish(flight)
            await store.release(flight)
            assert_accounts_equal_the_disk(store)

    async def test_nothing_is_kept_of_an_empty_stage_or_when_told_so(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": A}))
            await store.stage(flight, blob(A), SIZE)
            await store.release(flight)
            assert store.space().reserved == 0
            flight = await store.reserve(tree_of({"f": A}))
            await fill(store, flight, A)
            await store.release(flight, keep_stages=False)
            assert store.space().reserved == 0
            assert_accounts_equal_the_disk(store)

    async def test_release_again_is_nothing(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight, other = [await store.reserve(tree_of({"f": A})) for _ in range(2)]
            await store.release(flight)
            await store.release(flight)
            assert store.space().reserved == ROOM
            await store.release(other)

    async def test_a_stage_left_by_a_failed_flight_is_taken_over(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            first = await store.reserve(tree_of({"f": A}))
            second = await store.reserve(tree_of({"f": A, "g": B}))
            await fill(store, first, A)
            stage = await store.stage(second, blob(A), SIZE)
            assert not stage.missing()
            assert open_paths().count(Layout(store.root).stage_data(blob(A))) == 1, "the first one was closed"
            await store.release(first)
            await store.commit(second, stage)
            assert store.has_blob(blob(A))
            await store.release(second)

    async def test_wrong_bytes_leave_nothing(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": A}))
            stage = await store.stage(flight, blob(A), SIZE)
            await asyncio.to_thread(put, stage, B)
            with pytest.raises(Corrupt):
                await store.commit(flight, stage)
            assert not store.has_blob(blob(A))
            stage = await fill(store, flight, A)
            await store.commit(flight, stage)
            await store.publish(flight)
            await store.release(flight)
            assert_accounts_equal_the_disk(store)

    async def test_publish_wants_every_blob(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            flight = await store.reserve(tree_of({"f": A, "g": B}))
            await store.commit(flight, await fill(store, flight, A))
            with pytest.raises(Busy):
                await store.publish(flight)
            await store.release(flight)

    async def test_a_tree_whose_blobs_are_here_needs_no_fetch(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
            await bring(store, {"f": A, "g": B}, "one")
            flight = await store.reserve(tree_of({"renamed": A}))
            assert not store.missing(flight.tree)
            await store.publish(flight)
            await store.release(flight)
            assert_accounts_equal_the_disk(store)

    async def test_a_stage_of_another_is_not_committed(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            one, two = [await store.reserve(tree_of({"f": A})) for _ in range(2)]
            stage = await fill(store, one, A)
            with pytest.raises(ValueError, match="not one that this reservation has open"):
                await store.commit(two, stage)
            await store.release(one)
            await store.release(two)

    async def test_empty_files_are_files(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await bring(store, {"empty": b"", "full": A})
            assert_accounts_equal_the_disk(store)
        async with store_at(tmp_path / "root") as store:
            assert store.tree_count == 1
            assert_accounts_equal_the_disk(store)

    async def test_one_name_has_one_size(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await bring(store, {"f": A})
            with pytest.raises(Corrupt):
                await store.reserve(Tree.of([TreeFile("f", 10 * SIZE, blob(A))]))
            flight = await store.reserve(tree_of({"f": B}))
            await fill(store, flight, B)
            await store.release(flight)
            other = await store.reserve(Tree.of([TreeFile("f", 10 * SIZE, blob(B))]))
            assert store.space().reserved == footprint(10 * SIZE), "the stage of another size was dropped"
            await store.release(other)

    @pytest.mark.parametrize("step", ["reserve", "stage", "commit", "publish", "release"])
    @pytest.mark.parametrize("milliseconds", [0, 5, 15, 25])
    async def test_a_cancel_in_any_step_leaves_all_in_order(
        self, tmp_path: Path, step: str, milliseconds: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with store_at(tmp_path / "root", capacity=3 * ROOM) as store:
            await bring(store, {"f": C, "g": D}, "old")
            monkeypatch.setattr(Pool, "run", _slow_run)
            tree = tree_of({"f": A, "g": B})

            async def fly() -> None:
                flight = await cut_in("reserve", store.reserve(tree))
                try:
                    for data in (A, B):
                        stage = await cut_in("stage", store.stage(flight, blob(data), SIZE))
                        put(stage, data)
                        if step == "release":
                            return
                        await cut_in("commit", store.commit(flight, stage))
                    await cut_in("publish", store.publish(flight))
                finally:
                    await cut_in("release", store.release(flight))

            async def cut_in(name: str, work: Coroutine[Any, Any, T]) -> T:
                task = asyncio.current_task()
                if name == step and task is not None:
                    asyncio.get_running_loop().call_later(milliseconds / 1000, task.cancel)
                return await work

            flying = asyncio.ensure_future(fly())
            await asyncio.wait({flying})
            assert flying.cancelled() or not flying.exception(), "too late is fine"
            assert not store.space().held
            assert_accounts_equal_the_disk(store)
            monkeypatch.undo()
            await bring(store, {"f": A, "g": B})
            assert_accounts_equal_the_disk(store)


async def _slow_run(self: Pool, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As Pool.run, with a disk slow enough that a cancel comes while a thread is at work."""

    def slow() -> T:
        time.sleep(0.01)
        return work(*args, **kwargs)

    return await asyncio.get_running_loop().run_in_executor(self.executor, slow)


class TestEvict:
    async def test_it_says_what_holds(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"f": A})
            lease = await store.lease(tree.digest, "model", "pod-7", 60)
            await store.pin("model", PinnedBy.OPERATOR)
            with pytest.raises(InUse, match="leases of pod-7 and the operator's pin on model"):
                await store.evict(tree.digest)
            await store.unlease(lease.id)
            await store.unpin("model", PinnedBy.OPERATOR)
            flight = await store.reserve(tree)
            with pytest.raises(InUse, match="fetch"):
                await store.evict(tree.digest)
            await store.release(flight)
            assert await store.evict(tree.digest) == ROOM
            assert not store.tree_path(tree.digest).exists()

    async def test_what_is_not_here(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            with pytest.raises(NotFound):
                await store.evict(tree_of({"f": A}).digest)


class TestRefsAndPins:
    async def test_a_pin_follows_its_ref(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await store.pin("model", PinnedBy.OPERATOR)
            one = await bring(store, {"f": A})
            assert store.space().held == ROOM
            two = await bring(store, {"f": B})
            assert store._parts.state.holds.holds(two.digest)
            assert not store._parts.state.holds.holds(one.digest)
        async with store_at(tmp_path / "root") as store:
            assert store.pins("model") == {PinnedBy.OPERATOR}
            assert store.space().held == ROOM

    async def test_the_catalogs_pins_are_declared_anew(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await store.pin("b", PinnedBy.OPERATOR)
            await store.set_catalog_pins({"a", "b"})
            await store.set_catalog_pins({"b", "c"})
            assert not store.pins("a")
            assert store.pins("b") == {PinnedBy.OPERATOR, PinnedBy.CATALOG}
            assert store.pins("c") == {PinnedBy.CATALOG}
        async with store_at(tmp_path / "root") as store:
            assert store.pins("b") == {PinnedBy.OPERATOR}
            assert not store.pins("c")

    async def test_a_listing_lasts_as_long_as_something_points_at_it(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            one, two = tree_of({"f": A}), tree_of({"f": B})
            await store.set_ref("model", one, "file:///one")
            assert store.tree(one.digest) == one
            await store.set_ref("model", two, "file:///one")
            assert store.tree(one.digest) is None
            warm = await bring(store, {"f": C})
            await store.forget_ref("model")
            assert store.ref("model") is None
            assert store.tree(warm.digest) == warm
            await store.evict(warm.digest)
            assert store.tree(warm.digest) is None
        async with store_at(tmp_path / "root") as store:
            assert not store.refs()
            assert all(store.tree(tree.digest) is None for tree in (one, two, warm))

    async def test_resolving_to_the_same_tree_again_costs_no_wait(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"f": A})
            store._parts.clock.pass_(100)  # type: ignore[attr-defined]
            with monkeypatch.context() as patch:
                patch.setattr(Index, "commit", None)
                await store.set_ref("model", tree, "file:///somewhere")
            resolved = store.ref("model")
            assert resolved is not None
        async with store_at(tmp_path / "root") as store:
            assert store.ref("model") == resolved, "written behind"


@contextmanager
def another_daemon(root: Path) -> Iterator[int]:
    """The process id of somebody who has the store at `root` open; killed at the end."""
    program = (
        "import asyncio, sys, tests.store.house as house, pathlib\n"
        "async def main():\n"
        "    async with house.store_at(pathlib.Path(sys.argv[1])):\n"
        "        print('open', flush=True); sys.stdin.read()\n"
        "asyncio.run(main())"
    )
    command = [sys.executable, "-c", program, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        yield process.pid
        process.kill()


async def test_one_store_per_root(tmp_path: Path) -> None:
    with another_daemon(tmp_path / "root") as pid, pytest.raises(Busy, match=f"process {pid}"):
        async with store_at(tmp_path / "root"):
            pass
    async with store_at(tmp_path / "root"):
        assert (tmp_path / "root/lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("umask", [0o077, 0o022])
async def test_pods_can_reach_the_trees_and_nothing_else(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"sub/f": A})
            path = store.tree_path(tree.digest) / "sub"
            for directory in (store.root, store.root / "trees", path.parent, path):
                assert directory.stat().st_mode & 0o5 == 0o5
            assert (path / "f").stat().st_mode & 0o777 == 0o444
            for private in ("lock", "index.db", "index.db-wal", "stage", "quarantine"):
                assert (store.root / private).stat().st_mode & 0o077 == 0
    finally:
        os.umask(before)


async def test_gauges_tell_what_is(tmp_path: Path) -> None:
    metrics = Metrics()
    async with store_at(tmp_path / "root", metrics=metrics) as store:
        tree = await bring(store, {"f": A, "g": B})
        await store.lease(tree.digest, "model", "pod", 60)
        expected = {
            "cached_capacity_bytes": 64 * MIB,
            "cached_used_bytes": 2 * ROOM,
            "cached_held_bytes": 2 * ROOM,
            "cached_reserved_bytes": 0,
            "cached_leases": 1,
            "cached_blobs": 2,
            "cached_trees": 1,
        }
        assert {name: metrics.registry.get_sample_value(name) for name in expected} == expected
        assert metrics.registry.get_sample_value("cached_filesystem_free_bytes")


async def test_room_is_measured_from_the_filesystem_when_none_is_named(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", 100) as disk:
        async with store_at(disk / "root", capacity=None, min_free=None) as store:
            assert (store.space().capacity, store.space().min_free) == (90 * MIB, 5 * MIB)
        async with store_at(disk / "root", capacity=None, min_free=Share(20)) as store:
            assert store.space().min_free == 20 * MIB


async def test_a_tree_in_the_way_is_built_anew(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = tree_of({"f": A})
        store.tree_path(tree.digest).mkdir()
        await bring(store, {"f": A})
        assert trees.check(Layout(store.root), tree)
