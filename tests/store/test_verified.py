"""What the store lends to readers in threads of their own: verified bytes, or nothing."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_span
from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.store import blobs
from cached.store.layout import Layout
from cached.store.stage import Stage
from cached.store.store import Store

from .disk import mounted, put, some_bytes
from .house import MIB, bring, fill, store_at, tree_of

SIZE = 3 * MIB + 4321
DATA = some_bytes(SIZE)
BLOB = Digest.sha256(DATA)
OTHER = Digest.sha256(b"another")


def read_back(fd: int, offset: int, length: int) -> bytes:
    try:
        return os.pread(fd, length, offset)
    finally:
        os.close(fd)


def lent(store: Store, offset: int, length: int, blob: Digest = BLOB) -> bytes | None:
    fd = store.open_verified(blob, offset, length)
    return None if fd is None else read_back(fd, offset, length)


async def begun(store: Store, indexes: list[int]) -> Stage:
    """The stage of DATA, with these chunks in it."""
    reservation = await store.reserve(tree_of({"a": DATA}))
    stage = await store.stage(reservation, BLOB, SIZE)
    await asyncio.to_thread(put, stage, DATA, indexes)
    return stage


def spoil(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"!")


async def test_a_complete_blob_is_lent_wherever_it_is_asked_for(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": DATA})
        assert store.blob_size(BLOB) == SIZE
        for offset, length in [(0, SIZE), (0, 1), (SIZE - 1, 1), (MIB - 3, 7), (SIZE, 0)]:
            assert lent(store, offset, length) == DATA[offset : offset + length]
        for offset, length in [(0, SIZE + 1), (SIZE, 1), (-1, 2), (5, -1), (1 << 70, 1)]:
            assert lent(store, offset, length) is None
        assert store.blob_size(OTHER) is None
        assert lent(store, 0, 1, OTHER) is None


async def test_of_a_stage_only_ranges_are_lent_whose_chunks_are_all_here(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        stage = await begun(store, [1, 3])
        assert stage.chunk_size == MIB
        assert store.blob_size(BLOB) == SIZE
        assert lent(store, MIB, MIB) == DATA[MIB : 2 * MIB]
        assert lent(store, MIB + 5, 9) == DATA[MIB + 5 : MIB + 14]
        assert lent(store, 3 * MIB, 4321) == DATA[3 * MIB :]
        for offset, length in [(0, MIB), (MIB - 1, 2), (MIB, MIB + 1), (2 * MIB, 1), (MIB, 3 * MIB)]:
            assert lent(store, offset, length) is None
        assert lent(store, 3 * MIB, 4322) is None, "the padding of the last chunk is no part of the blob"
        await asyncio.to_thread(put, stage, DATA, [2])
        assert lent(store, MIB, 2 * MIB + 4321) == DATA[MIB:]
        assert lent(store, 0, SIZE) is None


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
async def test_what_was_written_past_the_page_cache_is_read_right(tmp_path: Path, kind: str) -> None:
    """Someone else reads each place before it is written, so that the page cache holds what was there."""
    with mounted(kind, tmp_path / "disk", 64) as disk:
        async with store_at(disk / "root") as store:
            stage = await begun(store, [])
            data = Layout(disk / "root").stage_data(BLOB)
            assert not any(data.read_bytes())
            for index in range(chunk_count(SIZE, MIB)):
                await asyncio.to_thread(put, stage, DATA, [index])
                offset, length = chunk_span(index, SIZE, MIB)
                assert lent(store, offset, length) == DATA[offset : offset + length]


async def test_a_descriptor_outlives_commit_and_eviction(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = tree_of({"a": DATA})
        await store.set_ref("model", tree, "file:///somewhere")
        reservation = await store.reserve(tree)
        stage = await fill(store, reservation, DATA)
        early = store.open_verified(BLOB, 0, SIZE)
        await store.commit(reservation, stage)
        late = store.open_verified(BLOB, 0, SIZE)
        await store.publish(reservation)
        await store.release(reservation)
        await store.evict(tree.digest)
        assert store.open_verified(BLOB, 0, SIZE) is None
        assert store.blob_size(BLOB) is None
        assert early is not None
        assert late is not None
        assert read_back(early, 0, SIZE) == read_back(late, 0, SIZE) == DATA


async def test_there_is_no_gap_between_stage_and_blob(tmp_path: Path) -> None:
    """Whoever asks again and again while the blob is committed is never told that it is not here."""
    async with store_at(tmp_path / "root") as store:
        tree = tree_of({"a": DATA})
        reservation = await store.reserve(tree)
        stage = await fill(store, reservation, DATA)
        over, wrong, asked = threading.Event(), [], 0

        def ask() -> None:
            nonlocal asked
            while not over.is_set():
                if (found := lent(store, MIB, 10)) != DATA[MIB : MIB + 10] or store.blob_size(BLOB) != SIZE:
                    wrong.append(found)
                asked += 1

        reader = threading.Thread(target=ask)
        reader.start()
        await store.commit(reservation, stage)
        over.set()
        await asyncio.to_thread(reader.join)
        await store.release(reservation)
        assert asked > 2
        assert not wrong


async def test_a_commit_is_read_through_at_each_of_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with store_at(tmp_path / "root") as store:
        reservation = await store.reserve(tree_of({"a": DATA}))
        stage = await fill(store, reservation, DATA)
        seen = []

        def before(step: str, do: object) -> object:
            def wrapped(*args: object, **kwargs: object) -> object:
                seen.append((step, lent(store, 0, SIZE) == DATA, store.blob_size(BLOB)))
                return do(*args, **kwargs)  # type: ignore[operator]

            return wrapped

        monkeypatch.setattr(stage, "seal", before("seal", stage.seal))
        monkeypatch.setattr(os, "rename", before("rename", os.rename))
        monkeypatch.setattr(store._parts.index, "commit", before("row", store._parts.index.commit))
        ledger = store._parts.state.ledger
        monkeypatch.setattr(ledger, "complete", before("account", ledger.complete))
        monkeypatch.setattr(stage, "discard", before("discard", stage.discard))
        await store.commit(reservation, stage)
        monkeypatch.undo()
        assert seen == [(step, True, SIZE) for step in ("seal", "rename", "row", "account", "discard")]
        await store.release(reservation)


async def test_a_stage_is_lent_while_a_flight_has_it_open(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = tree_of({"a": DATA})
        reservation = await store.reserve(tree)
        stage = await store.stage(reservation, BLOB, SIZE)
        await asyncio.to_thread(put, stage, DATA, [0])
        assert lent(store, 0, MIB) == DATA[:MIB]
        await store.release(reservation)
        assert lent(store, 0, MIB) is None
        assert store.blob_size(BLOB) is None
        assert stage.open_verified(0, MIB) is None

        reservation = await store.reserve(tree)
        stage = await store.stage(reservation, BLOB, SIZE)
        assert dict(stage.hashes()) == {0: blake3(DATA[:MIB]).digest()}
        assert lent(store, 0, MIB) == DATA[:MIB]
        await store.release(reservation)


@pytest.mark.parametrize("end", ["quarantine", "remove"])
async def test_what_is_found_wrong_or_evicted_is_lent_no_more_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    seen = []
    do = getattr(blobs, end)

    def wrapped(layout: Layout, blob: Digest) -> object:
        assert layout.blob(blob).exists()
        seen.append((lent(store, 0, 1), store.blob_size(BLOB)))
        return do(layout, blob)

    async with store_at(tmp_path / "root") as store:
        tree = await bring(store, {"a": DATA})
        monkeypatch.setattr(blobs, end, wrapped)
        if end == "quarantine":
            spoil(Layout(store.root).blob(BLOB))
            async for _ in store.verify(tree.digest):
                pass
        else:
            await store.evict(tree.digest)
        assert seen == [(None, None)]
        assert lent(store, 0, 1) is None
        assert store.blob_size(BLOB) is None


@pytest.mark.parametrize("stranger", ["symlink", "fifo", "nothing", "shorter"])
async def test_nothing_but_the_blob_itself_is_lent(tmp_path: Path, stranger: str) -> None:
    (tmp_path / "secret").write_bytes(DATA)
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": DATA})
        place = Layout(store.root).blob(BLOB)
        place.unlink()
        if stranger == "symlink":
            place.symlink_to(tmp_path / "secret")
        elif stranger == "fifo":
            os.mkfifo(place)
        elif stranger == "shorter":
            place.write_bytes(DATA[:-1])
        assert lent(store, 0, SIZE) is None
        assert store.blob_size(BLOB) == (SIZE - 1 if stranger == "shorter" else None)


async def test_the_hashes_of_a_complete_blob(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        stage = await begun(store, [0, 2])
        assert set(stage.hashes()) == {0, 2}
        with pytest.raises(NotFound):
            await store.blob_hashes(BLOB)
        stage.close()
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": DATA})
        hashes = await store.blob_hashes(BLOB)
        assert hashes == b"".join(blake3(DATA[at : at + MIB]).digest() for at in range(0, SIZE, MIB))
        await store.evict(tree_of({"a": DATA}).digest)
        with pytest.raises(NotFound):
            await store.blob_hashes(BLOB)
