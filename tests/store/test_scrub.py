from __future__ import annotations

import asyncio
import errno
import os
import time
from contextlib import aclosing, nullcontext
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import Busy, DiskFault, NotFound
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.store.ledger import footprint
from cached.store.losses import Finding
from cached.store.pace import Pace, Stopped
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
A, B, C = (some_bytes(SIZE, seed) for seed in range(3))
FAST = 1 << 30


def rot(store: Store, data: bytes) -> Path:
    """One bit of the blob falls over on disk, with no trace in its times."""
    path = Layout(store.root).blob(Digest.sha256(data))
    times = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        byte = file.read(1)[0]
        file.seek(SIZE // 2)
        file.write(bytes([byte ^ 1]))
    path.chmod(0o444)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    return path


class TestVerify:
    async def test_it_finds_one_flipped_bit(self, tmp_path: Path) -> None:
        lost = []
        metrics = Metrics()
        async with store_at(tmp_path / "root", metrics=metrics) as store:
            store.on_lost = lambda tree, why: lost.append((tree, why))
            one = await bring(store, {"a": A, "b": B}, "one")
            two = await bring(store, {"b": B}, "two")
            fine = await bring(store, {"c": C}, "fine")
            rot(store, B)
            reports = [report async for report in store.verify(None)]
            assert [report.finished for report in reports] == [False] * (len(reports) - 1) + [True]
            assert reports[-1].done == reports[-1].total == 3 * SIZE
            found = [finding for report in reports for finding in report.corrupt]
            assert found == [(Digest.sha256(B), ("one", "two"))]
            assert [store.is_warm(tree.digest) for tree in (one, two, fine)] == [False, False, True]
            assert {tree for tree, _ in lost} == {one.digest, two.digest}
            assert "1 of its chunks" in lost[0][1]
            assert metrics.registry.get_sample_value("cached_evictions_total", {"reason": "corrupt"}) == 2
            (kept,) = Layout(store.root).quarantined.iterdir()
            assert kept.stat().st_size == SIZE
            assert store.space().used == 3 * ROOM
            assert_accounts_equal_the_disk(store)
            await bring(store, {"a": A, "b": B}, "one")
            assert_accounts_equal_the_disk(store)

    async def test_two_wrong_blobs_of_one_tree_both_name_its_ref(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": A, "b": B, "c": C})
            rot(store, A)
            rot(store, B)
            found = [finding async for report in store.verify(tree.digest) for finding in report.corrupt]
            assert sorted(found) == sorted((Digest.sha256(data), ("model",)) for data in (A, B))

    async def test_one_tree_is_read_alone(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            one = await bring(store, {"a": A}, "one")
            two = await bring(store, {"b": B}, "two")
            rot(store, B)
            reports = [report async for report in store.verify(one.digest)]
            assert reports[-1].total == SIZE
            assert not any(report.corrupt for report in reports)
            assert store.is_warm(two.digest)

    async def test_a_tree_that_lost_a_file_is_warm_no_more(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": A, "b": B})
            path = store.tree_path(tree.digest)
            path.chmod(0o755)
            (path / "a").unlink()
            async for _ in store.verify(tree.digest):
                pass
            assert not store.is_warm(tree.digest)
            assert not store.missing(tree)
            assert_accounts_equal_the_disk(store)

    async def test_what_is_not_here(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            with pytest.raises(NotFound):
                async for _ in store.verify(tree_of({"a": A}).digest):
                    pass

    async def test_leaving_early_stops_the_reading(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("cached.store.verify._TICK", 0.01)
        monkeypatch.setattr(Pace, "__init__", _crawling)
        async with store_at(tmp_path / "root") as store:
            await bring(store, {"a": some_bytes(8 * MIB)})
            async with aclosing(store.verify(None)) as reports:
                async for report in reports:
                    assert not report.finished
                    break
            began = time.monotonic()
        assert time.monotonic() - began < 1, "a thread went on reading"

    async def test_a_flight_that_used_the_blob_fetches_it_again(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await bring(store, {"a": A}, "one")
            flight = await store.reserve(tree_of({"a": A, "b": B}))
            assert list(store.missing(flight.tree)) == [Digest.sha256(B)]
            rot(store, A)
            async for _ in store.verify(None):
                pass
            assert store.missing(flight.tree).keys() == {Digest.sha256(A), Digest.sha256(B)}
            await store.commit(flight, await fill(store, flight, B))
            with pytest.raises(Busy):
                await store.publish(flight)
            await store.commit(flight, await fill(store, flight, A))
            await store.publish(flight)
            await store.release(flight)
            assert_accounts_equal_the_disk(store)

    @pytest.mark.parametrize(("code", "fault_of_the_blob"), [(errno.EIO, True), (errno.EMFILE, False)])
    async def test_a_blob_is_lost_when_the_disk_cannot_read_it_and_not_when_we_cannot(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, fault_of_the_blob: bool
    ) -> None:
        def failing(path: Path, *_: object, **__: object) -> list[int]:
            with disk_faults("reading a blob to verify it", path):
                raise OSError(code, os.strerror(code))

        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": A})
            monkeypatch.setattr("cached.store.losses.read_and_check", failing)
            with nullcontext() if fault_of_the_blob else pytest.raises(DiskFault):
                async for _ in store.verify(None):
                    pass
            assert store.is_warm(tree.digest) is not fault_of_the_blob
            assert_accounts_equal_the_disk(store)

    async def test_a_slow_reader_of_old_bytes_does_not_take_new_ones_away(self, tmp_path: Path) -> None:
        data = some_bytes(3 * MIB)
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": data})
            rot(store, data)
            slow = asyncio.ensure_future(store._losses.examine(Digest.sha256(data), Pace(4 * MIB)))
            await asyncio.sleep(0.05)
            async for _ in store.verify(None):
                pass
            assert not store.is_warm(tree.digest)
            flight = await store.reserve(tree)  # as a flight that waits for the blob does
            await store.commit(flight, await fill(store, flight, data))
            await store.publish(flight)
            await store.release(flight)
            assert not slow.done()
            assert (await slow).finding is Finding.GONE
            assert store.is_warm(tree.digest)
            assert_accounts_equal_the_disk(store)


_plain = Pace.__init__


def _crawling(self: Pace, rate: int) -> None:
    del rate
    _plain(self, 1024)


class TestScrub:
    async def test_it_finds_rot_by_itself(self, tmp_path: Path) -> None:
        metrics = Metrics()
        async with store_at(tmp_path / "root", metrics=metrics) as store:
            tree = await bring(store, {"a": A, "b": B, "c": C})
            rot(store, C)
        lost = []
        async with store_at(tmp_path / "root", metrics=metrics, scrub_rate=FAST) as store:
            store.on_lost = lambda tree, why: lost.append(tree)
            async with running(store):
                await until(lambda: store.scrub_status().last_round)
            assert lost == [tree.digest]
            status = store.scrub_status()
            assert (status.blob_count, status.corrupt_count) == (3, 1)
            sample = metrics.registry.get_sample_value
            assert sample("cached_scrubbed_bytes_total") == 3 * SIZE
            assert sample("cached_scrubbed_blobs_total", {"result": "ok"}) == 2
            assert sample("cached_scrubbed_blobs_total", {"result": "corrupt"}) == 1
            assert_accounts_equal_the_disk(store)

    async def test_rounds_come_an_interval_apart_and_least_recently_read_first(self, tmp_path: Path) -> None:
        clock = TurnedClock()
        async with store_at(tmp_path / "root", clock=clock, scrub_rate=FAST, scrub_interval=0.3) as store:
            await bring(store, {"a": A})
            async with running(store):
                await until(lambda: store.scrub_status().blob_count == 1)
                first = time.monotonic()
                await until(lambda: store.scrub_status().blob_count == 2)
                assert 0.2 < time.monotonic() - first < 5
        async with store_at(tmp_path / "root", clock=clock, scrub_rate=FAST, scrub_interval=1e6) as store:
            async with running(store):
                await asyncio.sleep(0.2)
            assert store.scrub_status().blob_count == 0, "the next round is not due"
            assert store.scrub_status().last_round == clock.now()

    async def test_a_broken_off_round_goes_on(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root") as store:
            await bring(store, {"a": A, "b": B, "c": C})
        async with store_at(tmp_path / "root", scrub_rate=SIZE * 4) as store, running(store):
            await until(lambda: store.scrub_status().blob_count == 1)
        async with store_at(tmp_path / "root", scrub_rate=FAST) as store:
            async with running(store):
                await until(lambda: store.scrub_status().last_round)
            assert store.scrub_status().blob_count == 2

    async def test_it_can_be_turned_off(self, tmp_path: Path) -> None:
        async with store_at(tmp_path / "root", scrub_rate=0) as store:
            await bring(store, {"a": A})
            async with running(store):
                await asyncio.sleep(0.1)
            assert store.scrub_status().blob_count == 0

    async def test_eviction_does_not_wait_for_it(self, tmp_path: Path) -> None:
        data = some_bytes(4 * MIB)
        async with store_at(tmp_path / "root") as store:
            tree = await bring(store, {"a": data})
        async with store_at(tmp_path / "root", scrub_rate=MIB) as store, running(store):
            await asyncio.sleep(0.1)
            async with asyncio.timeout(1):
                await store.evict(tree.digest)
            await asyncio.sleep(0.05)
            assert not list(Layout(store.root).quarantined.iterdir())
            assert_accounts_equal_the_disk(store)


def test_the_pace_is_kept() -> None:
    pace = Pace(10 * MIB)
    began = time.monotonic()
    for _ in range(5):
        pace(MIB)
    assert 0.4 <= time.monotonic() - began < 0.6
    assert pace.done == 5 * MIB


def test_a_stopped_pace_lets_nobody_on() -> None:
    pace = Pace(0)
    pace(MIB)
    pace._stopped.set()
    with pytest.raises(Stopped):
        pace(MIB)
