"""What a store finds at its start, and what it makes of it."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.store import blobs, tables
from cached.store.layout import Layout
from cached.store.ledger import footprint
from cached.store.stage import Stage
from cached.store.store import Store

from .disk import committed, put, some_bytes
from .house import MIB, assert_accounts_equal_the_disk, bring, fill, store_at, tree_of

SIZE = 300_000
ROOM = footprint(SIZE)
A, B, C = (some_bytes(SIZE, seed) for seed in range(3))


@pytest.fixture
async def layout(tmp_path: Path) -> Layout:
    """A store, closed, with two trees: `one` of A and B, `two` of B and C."""
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": A, "b": B}, "one")
        await bring(store, {"b": B, "c": C}, "two")
    return Layout(tmp_path / "root")


ONE, TWO = tree_of({"a": A, "b": B}), tree_of({"b": B, "c": C})


def blob(data: bytes) -> Digest:
    return Digest.sha256(data)


def warm(store: Store) -> list[bool]:
    return [store.is_warm(ONE.digest), store.is_warm(TWO.digest)]


@contextmanager
def rows(layout: Layout) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(layout.index)) as connection, connection:
        yield connection


async def test_nothing_to_mend_is_not_spoken_of(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with store_at(layout.root) as store:
        assert warm(store) == [True, True]
        assert_accounts_equal_the_disk(store)
    assert not caplog.records


async def test_a_row_without_its_file(layout: Layout) -> None:
    layout.blob(blob(A)).unlink()
    async with store_at(layout.root) as store:
        assert warm(store) == [False, True]
        assert store.missing(ONE) == {blob(A): SIZE}
        assert_accounts_equal_the_disk(store)
        await bring(store, {"a": A, "b": B}, "one")
        assert warm(store) == [True, True]


async def test_a_file_of_the_wrong_size(layout: Layout) -> None:
    path = layout.blob(blob(C))
    path.chmod(0o644)
    path.write_bytes(C[:-1])
    async with store_at(layout.root) as store:
        assert warm(store) == [True, False]
        (kept,) = layout.quarantined.iterdir()
        assert kept.read_bytes() == C[:-1]
        assert store.space().used == 3 * ROOM, "what lies in quarantine takes room too"
        assert_accounts_equal_the_disk(store)


async def test_quarantine_gives_way_first(layout: Layout) -> None:
    layout.blob(blob(C)).chmod(0o644)
    layout.blob(blob(C)).write_bytes(b"short")
    async with store_at(layout.root, capacity=3 * ROOM) as store:
        await bring(store, {"new": some_bytes(SIZE, 9)}, "new")
        assert store.is_warm(ONE.digest)
        assert not list(layout.quarantined.iterdir())
        assert_accounts_equal_the_disk(store)


async def test_a_file_without_its_row(layout: Layout) -> None:
    stranger = committed(layout, some_bytes(SIZE, 7))
    async with store_at(layout.root) as store:
        assert not layout.blob(stranger).exists()
        assert warm(store) == [True, True]
        assert_accounts_equal_the_disk(store)


async def test_a_commit_cut_off_before_its_row_is_adopted(layout: Layout) -> None:
    data = some_bytes(3 * MIB, 7)
    stage = Stage.open(layout, blob(data), len(data), chunk_size=MIB)
    put(stage, data)
    stage.seal()
    blobs.commit(layout, stage)
    stage.close()
    for _ in range(2):
        async with store_at(layout.root) as store:
            assert store.has_blob(blob(data))
            assert not layout.stage(blob(data)).exists()
            assert_accounts_equal_the_disk(store)
            async for report in store.verify(None):
                assert not report.corrupt


async def test_a_commit_cut_off_before_its_journal_was_removed(layout: Layout) -> None:
    data = some_bytes(SIZE, 7)
    stage = Stage.open(layout, blob(data), SIZE, chunk_size=MIB)
    put(stage, data)
    stage.seal()
    blobs.commit(layout, stage)
    stage.close()
    async with store_at(layout.root):
        pass
    layout.stage(blob(data)).mkdir()
    layout.stage_journal(blob(data)).write_bytes(b"left")
    async with store_at(layout.root) as store:
        assert not layout.stage(blob(data)).exists()
        assert_accounts_equal_the_disk(store)


async def test_a_tree_without_its_directory_is_published_again_without_a_fetch(layout: Layout) -> None:
    layout.tree(ONE.digest).chmod(0o755)
    layout.tree(ONE.digest).rename(layout.draft(ONE.digest, "gone"))
    async with store_at(layout.root) as store:
        assert warm(store) == [False, True]
        assert not store.missing(ONE)
        assert not list(layout.drafts.iterdir())
        assert_accounts_equal_the_disk(store)
        await bring(store, {"a": A, "b": B}, "one")
        assert_accounts_equal_the_disk(store)


async def test_a_directory_without_its_row(layout: Layout) -> None:
    with rows(layout) as connection:
        connection.execute(*tables.unpublish(TWO.digest))
    async with store_at(layout.root) as store:
        assert warm(store) == [True, False]
        assert not layout.tree(TWO.digest).exists()
        assert store.tree(TWO.digest) == TWO, "its ref still points at it"
        assert_accounts_equal_the_disk(store)


async def test_rows_of_trees_that_nobody_needs_go(layout: Layout) -> None:
    with rows(layout) as connection:
        connection.execute(*tables.drop_ref("two"))
        connection.execute(*tables.unpublish(TWO.digest))
    async with store_at(layout.root) as store:
        assert store.tree(TWO.digest) is None
    with rows(layout) as connection:
        assert [row[0] for row in tables.all_trees(connection)] == [ONE.digest]


async def test_leftovers_are_evicted_oldest_first_after_a_restart(layout: Layout) -> None:
    async with store_at(layout.root) as store:
        for number in range(3):
            data = some_bytes(SIZE, 10 + number)
            flight = await store.reserve(tree_of({"f": data}))
            await fill(store, flight, data)
            await store.release(flight)
            written = 1_000_000 + number if number else 5_000_000
            os.utime(layout.stage_journal(blob(data)), (written, written))
    async with store_at(layout.root) as store:
        oldest_first = [blob(some_bytes(SIZE, 10 + number)) for number in (1, 2, 0)]
        assert list(store._parts.state.ledger.loose) == oldest_first


async def test_a_stage_without_a_verified_chunk_goes(layout: Layout) -> None:
    Stage.open(layout, blob(b"other"), 5, chunk_size=MIB).close()
    async with store_at(layout.root) as store:
        assert not layout.stage(blob(b"other")).exists()
        assert store.space().reserved == 0


async def test_foreign_files_are_left_alone(layout: Layout) -> None:
    strangers = [layout.root / "notes.txt", layout.blobs / "notes.txt", layout.trees / "notes.txt"]
    for path in strangers:
        path.write_text("keep me")
    async with store_at(layout.root) as store:
        assert warm(store) == [True, True]
    assert all(path.read_text() == "keep me" for path in strangers)


RESTLESS = """
import asyncio, pathlib, random, sys
from cached.core.digest import Digest
from cached.store.store import ManifestRecord
from tests.store.disk import some_bytes
from tests.store.house import bring, store_at, tree_of, fill

async def main():
    rng = random.Random(int(sys.argv[2]))
    async with store_at(pathlib.Path(sys.argv[1]), capacity=16 * 300_000) as store:
        print("open", flush=True)
        while True:
            for lease in store.leases():
                await store.unlease(lease.id)
            seeds = rng.sample(range(60), rng.randint(1, 4))
            contents = {f"file-{seed}": some_bytes(250_000 + seed, seed) for seed in seeds}
            ref = f"model-{rng.randrange(6)}"
            step = rng.random()
            if step < 0.6:
                tree = await bring(store, contents, ref)
                if step < 0.2:
                    store.demote(tree.digest)
                else:
                    await store.lease(tree.digest, ref, "pod", 60.0)
            elif step < 0.85:
                flight = await store.reserve(tree_of(contents))
                data = next(iter(contents.values()))
                blob = Digest.sha256(data)
                if blob in store.missing(flight.tree):
                    stage = await fill(store, flight, data)
                    if step < 0.75:
                        await store.commit(flight, stage)
                if store.has_blob(blob):
                    store.keep(blob, 1.0)
                    said = ManifestRecord("host/name", ref, blob, len(data), "text/plain", 1.0, True)
                    await store.set_manifest(said)
                    store.let_go(blob)
                await store.release(flight)
            else:
                record = store.ref(ref)
                if record and store.is_warm(record.tree):
                    await store.evict(record.tree)
                await store.forget_ref(ref)

asyncio.run(main())
"""


async def test_after_a_kill_at_any_moment_the_ledger_equals_the_disk(tmp_path: Path) -> None:
    rng = random.Random(20261122)
    root = tmp_path / "root"
    loose = said = 0
    for life in range(12):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RESTLESS, str(root), str(life), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        await asyncio.sleep(rng.uniform(0.02, 0.5))
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        async with store_at(root, capacity=16 * 300_000) as store:
            assert_accounts_equal_the_disk(store)
            async for report in store.verify(None):
                assert not report.corrupt
            for ref, record in store.refs().items():
                assert store.tree(record.tree) is not None, ref
            assert store.blob_count
            used = {blob for share in store._parts.state.ledger.trees.values() for blob in share.blobs}
            loose += store.blob_count - len(used)
            said += len(store.manifests())
    assert loose
    assert said
