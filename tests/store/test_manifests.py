"""What registries said of manifests, for as long as their blobs are here."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.store.index import Index
from cached.store.layout import Layout
from cached.store.ledger import footprint
from cached.store.store import ManifestRecord, Store

from .disk import some_bytes
from .house import assert_accounts_equal_the_disk, bring, rows_of, store_at, tree_of

SIZE = 5000
ROOM = footprint(SIZE)
A, B, C = (some_bytes(SIZE, seed) for seed in range(3))
OCI = "application/vnd.oci.image.manifest.v1+json"


def said(data: bytes, reference: str = "latest", *, at: float = 1.5, public: bool = False) -> ManifestRecord:
    return ManifestRecord("host:5000/name", reference, Digest.sha256(data), SIZE, OCI, at, public)


def all_of(store: Store) -> set[ManifestRecord]:
    return set(store.manifests())


async def test_it_is_there_by_name_and_survives_a_restart(tmp_path: Path) -> None:
    by_tag, by_digest, other = said(A), said(A, Digest.sha256(A), public=True), said(B, "other")
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": A, "b": B})
        for record in (by_tag, by_digest, other):
            await store.set_manifest(record)
        assert store.manifest("host:5000/name", "latest") == by_tag
        assert store.manifest("host:5000/name", Digest.sha256(A)) == by_digest
        assert store.manifest("host:5000/other", "latest") is None
        assert store.manifest("host:5000/name", "none") is None
    async with store_at(tmp_path / "root") as store:
        assert all_of(store) == {by_tag, by_digest, other}
        assert store.manifest("host:5000/name", Digest.sha256(A)) == by_digest


async def test_a_tag_that_moved_leaves_the_other_names_alone(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = await bring(store, {"a": A}, "a")
        await bring(store, {"b": B}, "b")
        stays = said(A, Digest.sha256(A))
        for record in (said(A), stays, said(B)):
            await store.set_manifest(record)
        assert all_of(store) == {stays, said(B)}
        await store.evict(tree.digest)
        assert all_of(store) == {said(B)}
    async with store_at(tmp_path / "root") as store:
        assert all_of(store) == {said(B)}


async def test_what_only_got_newer_costs_no_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": A})
        await store.set_manifest(said(A))
        with monkeypatch.context() as patch:
            patch.setattr(Index, "commit", None)
            await store.set_manifest(said(A, at=2.5))
            with pytest.raises(TypeError):
                await store.set_manifest(said(A, at=3.5, public=True))
        assert all_of(store) == {said(A, at=2.5)}
    async with store_at(tmp_path / "root") as store:
        assert all_of(store) == {said(A, at=2.5)}, "written behind"


async def _evict(store: Store) -> None:
    record = store.ref("model")
    assert record is not None
    await store.evict(record.tree)


async def _verify(store: Store) -> None:
    path = Layout(store.root).blob(Digest.sha256(A))
    path.chmod(0o644)
    path.write_bytes(B)
    async for _ in store.verify(None):
        pass


async def _make_room(store: Store) -> None:
    await bring(store, {"b": B, "c": C}, "others")


@pytest.mark.parametrize("leave", [_evict, _verify, _make_room])
async def test_it_leaves_with_its_blob(
    tmp_path: Path, leave: Callable[[Store], Coroutine[Any, Any, None]]
) -> None:
    async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
        await bring(store, {"a": A})
        for reference in ("latest", "v1"):
            await store.set_manifest(said(A, reference))
        await leave(store)
        assert not store.manifests()
        assert not rows_of(store._parts.index, "SELECT reference FROM manifests")
        with pytest.raises(NotFound):
            await store.set_manifest(said(A))
        assert_accounts_equal_the_disk(store)
    async with store_at(tmp_path / "root", capacity=2 * ROOM) as store:
        await bring(store, {"a": A}, "again")
        assert not store.manifests(), "the registry is to say it anew"


async def test_what_is_lost_while_nobody_looked_leaves_at_the_next_start(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        await bring(store, {"a": A, "b": B})
        for record in (said(A), said(B, "other")):
            await store.set_manifest(record)
    Layout(tmp_path / "root").blob(Digest.sha256(A)).unlink()
    for _ in range(2):
        async with store_at(tmp_path / "root") as store:
            assert all_of(store) == {said(B, "other")}
            assert rows_of(store._parts.index, "SELECT reference FROM manifests") == {"other"}


@pytest.mark.parametrize("known", [False, True])
async def test_nothing_is_said_of_a_blob_that_leaves_meanwhile(tmp_path: Path, known: bool) -> None:
    async with store_at(tmp_path / "root") as store:
        tree = await bring(store, {"a": A})
        if known:
            await store.set_manifest(replace(said(A), media_type="text/plain"))
        saying = asyncio.ensure_future(store.set_manifest(said(A)))
        leaving = asyncio.ensure_future(store.evict(tree.digest))
        await asyncio.wait({saying, leaving})
        assert isinstance(saying.exception(), NotFound)
        assert not store.manifests()
        assert not rows_of(store._parts.index, "SELECT reference FROM manifests")


async def test_an_incomplete_blob_has_no_manifest(tmp_path: Path) -> None:
    async with store_at(tmp_path / "root") as store:
        flight = await store.reserve(tree_of({"a": A}))
        with pytest.raises(NotFound):
            await store.set_manifest(said(A))
        await store.release(flight)


def _shape(index: Path) -> set[str]:
    with closing(sqlite3.connect(index)) as connection:
        return {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")}


async def test_an_index_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    root = tmp_path / "root"
    async with store_at(root) as store:
        tree = await bring(store, {"a": A})
    shape = _shape(root / "index.db")
    with closing(sqlite3.connect(root / "index.db")) as connection:
        connection.executescript(
            "DROP TABLE manifests; DROP TRIGGER manifests_leave_with_their_blob; PRAGMA user_version = 1;"
        )
    assert _shape(root / "index.db") < shape
    for _ in range(2):
        async with store_at(root) as store:
            assert store.is_warm(tree.digest)
            await store.set_manifest(said(A))
            assert_accounts_equal_the_disk(store)
        assert _shape(root / "index.db") == shape
        assert not list((root / "quarantine").iterdir())
