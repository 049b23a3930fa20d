from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import pytest

from cached.core.errors import CachedError, NoSpace, NotConfigured
from cached.kit.pool import Pool
from cached.store import tables
from cached.store.index import Index
from cached.store.layout import Layout
from cached.store.recovery import open_index
from cached.store.tables import Statement

from .disk import mounted, new_layout
from .house import TurnedClock, bring, rows_of, store_at, until


@asynccontextmanager
async def index_at(layout: Layout) -> AsyncIterator[Index]:
    writer = Pool("index", 1)
    connection = await writer.run(open_index, layout)
    index = Index(layout.index, writer, connection)
    try:
        yield index
    finally:
        await index.close()


def pins(index: Index) -> set[str]:
    return rows_of(index, "SELECT ref FROM pins")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_layout(tmp_path / "root")


async def test_a_commit_is_there_when_it_returns(layout: Layout) -> None:
    async with index_at(layout) as index:
        await index.commit(tables.put_pin("a"), tables.put_pin("b"))
        assert pins(index) == {"a", "b"}


async def test_many_commits_share_a_transaction(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = []
    apply = tables.apply

    def counting(connection: sqlite3.Connection, statements: list[Statement], *, durable: bool) -> None:
        batches.append(len(statements))
        apply(connection, statements, durable=durable)

    monkeypatch.setattr(tables, "apply", counting)
    async with index_at(layout) as index:
        await asyncio.gather(*(index.commit(tables.put_pin(str(number))) for number in range(100)))
        assert batches == [1, 99]
        assert len(pins(index)) == 100


async def test_later_words_on_the_same_key_replace_earlier_ones(layout: Layout) -> None:
    async with index_at(layout) as index:
        index.later(("pin", "a"), tables.put_pin("a"))
        index.later(("pin", "b"), tables.put_pin("b"))
        index.later(("pin", "a"), tables.drop_pin("a"))
        await until(lambda: pins(index) == {"b"})
        index.later(("pin", "c"), tables.put_pin("c"))
    async with index_at(layout) as index:
        assert pins(index) == {"b", "c"}, "written before it was closed"


async def test_a_cancelled_caller_undoes_nothing(layout: Layout) -> None:
    async with index_at(layout) as index:
        caller = asyncio.ensure_future(index.commit(tables.put_pin("a")))
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.wait({caller})
        assert caller.cancelled()
        await index.commit()
        assert pins(index) == {"a"}


async def test_a_failed_batch_does_nothing_and_behind_is_tried_again(layout: Layout) -> None:
    async with index_at(layout) as index:
        index.later(("pin", "a"), tables.put_pin("a"))
        with pytest.raises(CachedError):
            await index.commit(tables.put_pin("b"), ("INSERT INTO nowhere VALUES (1)", ()))
        assert index.fault
        assert pins(index) == set()
        await until(lambda: not index.fault)
        assert pins(index) == {"a"}


async def test_what_is_tried_again_does_not_replace_later_words(layout: Layout) -> None:
    async with index_at(layout) as index:
        index.later(("pin", "it"), tables.put_pin("earlier"))
        failing = asyncio.ensure_future(index.commit(("INSERT INTO nowhere VALUES (1)", ())))
        await asyncio.sleep(0)
        index.later(("pin", "it"), tables.put_pin("later"))
        await asyncio.wait({failing})
        assert failing.exception()
        await until(lambda: not index.fault)
        assert pins(index) == {"later"}


def fill_up(disk: Path) -> Path:
    """Others leave not a single byte."""
    theirs = disk / "theirs"
    fd = os.open(theirs, os.O_WRONLY | os.O_CREAT)
    for piece in (1 << 20, 4096, 1):
        with suppress(OSError):
            while True:
                os.write(fd, bytes(piece))
    os.close(fd)
    return theirs


@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "xfs"])
async def test_leases_are_recorded_on_a_full_disk(tmp_path: Path, kind: str) -> None:
    clock = TurnedClock()
    with mounted(kind, tmp_path / "disk", 300 if kind == "xfs" else 32) as disk:
        async with store_at(disk / "root", clock=clock) as store:
            tree = await bring(store, {"file": b"bytes"})
            fill_up(disk)
            leases = set()
            for _ in range(100):
                lease = await store.lease(tree.digest, "model", "pod", 600)
                leases.add(lease.id)
                await store._parts.index.commit()
            assert not store.warnings
        async with store_at(disk / "root", clock=clock) as store:
            assert {lease.id for lease in store.leases()} == leases


async def test_a_full_disk_that_ends_its_own_room_too(tmp_path: Path) -> None:
    with mounted("tmpfs", tmp_path / "disk", 16) as disk:
        layout = new_layout(disk / "root")
        async with index_at(layout) as index:
            await index.commit(tables.put_pin("before"))
            theirs = fill_up(disk)
            with pytest.raises(NoSpace):
                await index.commit(*(tables.put_pin(f"{number:01000}") for number in range(10_000)))
            theirs.unlink()
            await index.commit(tables.put_pin("after"))
            assert pins(index) == {"before", "after"}
            assert not index.fault


async def test_commits_outlive_a_kill(layout: Layout) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from cached.store import tables\n"
        "from cached.store.layout import Layout\n"
        "from tests.store.test_index import index_at\n"
        "async def main():\n"
        "    async with index_at(Layout(pathlib.Path(sys.argv[1]))) as index:\n"
        "        for number in range(10**9):\n"
        "            await index.commit(tables.put_pin(str(number)))\n"
        "            print(number, flush=True)\n"
        "asyncio.run(main())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(layout.root), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(20):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    told = (await process.stdout.read()).split()
    await process.wait()
    promised = max((int(line) for line in told if line), default=19)
    async with index_at(layout) as index:
        assert pins(index) >= {str(number) for number in range(promised + 1)}


@pytest.mark.parametrize("damage", ["garbage", "torn page", "cut off"])
async def test_a_damaged_index_is_put_aside(tmp_path: Path, damage: str) -> None:
    root = tmp_path / "root"
    async with store_at(root) as store:
        for number in range(50):
            await bring(store, {f"file-{number}": bytes([number])}, f"model-{number}")
    index = root / "index.db"
    data = bytearray(index.read_bytes())
    if damage == "garbage":
        data[:] = b"not a database at all" * 1000
    elif damage == "torn page":
        data[4096:8192] = os.urandom(4096)
    else:
        del data[len(data) // 2 :]
    index.write_bytes(data)
    async with store_at(root) as store:
        assert store.blob_count == store.tree_count == 0
        assert not store.refs()
        (kept,) = (root / "quarantine").iterdir()
        assert kept.read_bytes() == data
        tree = await bring(store, {"file": b"new"})
        assert store.is_warm(tree.digest)


async def test_an_index_of_another_version_is_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store_at(root) as store:
        await bring(store, {"file": b"bytes"})
    with closing(sqlite3.connect(root / "index.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = shutil.copytree(root, tmp_path / "before")
    with pytest.raises(NotConfigured, match="99"):
        async with store_at(root):
            pass
    assert (root / "index.db").read_bytes() == (before / "index.db").read_bytes()
