from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.store.layout import Layout
from cached.store.store import Store

from .disk import some_bytes
from .house import assert_accounts_equal_the_disk, bring, running, store_at, until

A, B, C = (some_bytes(100_000, seed) for seed in range(3))


@asynccontextmanager
async def watched(root: Path, lost: list[Digest]) -> AsyncIterator[Store]:
    """A store that is at work, with the watch in place."""
    async with store_at(root) as store:
        store.on_lost = lambda tree, why: lost.append(tree)
        async with running(store):
            await asyncio.sleep(0.3)
            yield store


async def two_trees(store: Store) -> tuple[Tree, Tree]:
    return await bring(store, {"a": A, "sub/b": B}, "one"), await bring(store, {"c": C}, "two")


def blob_path(store: Store, data: bytes) -> Path:
    return Layout(store.root).blob(Digest.sha256(data))


def delete_blob(store: Store, tree: Tree) -> None:
    blob_path(store, B).unlink()


def write_to_blob(store: Store, tree: Tree) -> None:
    path = blob_path(store, B)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"graffiti")


def write_to_blob_through_the_tree(store: Store, tree: Tree) -> None:
    path = store.tree_path(tree.digest) / "sub/b"
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(b"graffiti")


def truncate_blob(store: Store, tree: Tree) -> None:
    blob_path(store, B).chmod(0o644)
    os.truncate(blob_path(store, B), 10)
    os.close(os.open(blob_path(store, B), os.O_WRONLY))


def move_blob_away(store: Store, tree: Tree) -> None:
    blob_path(store, B).rename(store.root / "elsewhere")


def move_directory_of_blobs_away(store: Store, tree: Tree) -> None:
    blob_path(store, B).parent.rename(store.root / "elsewhere")
    blob_path(store, B).parent.mkdir()


def delete_from_tree(store: Store, tree: Tree) -> None:
    directory = store.tree_path(tree.digest) / "sub"
    directory.chmod(0o755)
    (directory / "b").unlink()


def replace_in_tree(store: Store, tree: Tree) -> None:
    directory = store.tree_path(tree.digest) / "sub"
    directory.chmod(0o755)
    (directory / "draft").write_bytes(B)
    (directory / "draft").rename(directory / "b")


def delete_tree(store: Store, tree: Tree) -> None:
    path = store.tree_path(tree.digest)
    path.chmod(0o755)
    path.rename(store.root / "elsewhere")


HANDS = [
    delete_blob,
    write_to_blob,
    write_to_blob_through_the_tree,
    truncate_blob,
    move_blob_away,
    move_directory_of_blobs_away,
    delete_from_tree,
    replace_in_tree,
    delete_tree,
]


@pytest.mark.parametrize("hand", HANDS, ids=lambda hand: hand.__name__)
async def test_a_hand_from_outside_is_noticed(tmp_path: Path, hand) -> None:  # type: ignore[no-untyped-def]
    lost: list[Digest] = []
    async with watched(tmp_path / "root", lost) as store:
        touched, other = await two_trees(store)
        hand(store, touched)
        await until(lambda: lost)
        assert lost == [touched.digest]
        assert not store.is_warm(touched.digest)
        assert store.is_warm(other.digest)
        await bring(store, {"a": A, "sub/b": B}, "one")
        assert (store.tree_path(touched.digest) / "sub/b").read_bytes() == B
        assert_accounts_equal_the_disk(store)


async def test_a_touch_that_changes_nothing_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost: list[Digest] = []
    async with watched(tmp_path / "root", lost) as store:
        await two_trees(store)
        path = blob_path(store, A)
        path.chmod(0o644)
        with path.open("r+b") as file:
            file.write(A[:10])
        await until(lambda: any("written to from outside" in message for message in caplog.messages))
        await asyncio.sleep(0.2)
        assert not lost


async def test_own_work_raises_no_alarm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    lost: list[Digest] = []
    async with watched(tmp_path / "root", lost) as store:
        for round_ in range(3):
            one, two = await two_trees(store)
            await store.evict(one.digest)
            await bring(store, {"b": B, "c": C}, f"round-{round_}")
            await store.evict(two.digest)
        await asyncio.sleep(0.5)
        assert not lost
        assert_accounts_equal_the_disk(store)
    assert not caplog.records


async def test_what_happened_to_trees_before_is_found_at_the_start(tmp_path: Path) -> None:
    lost: list[Digest] = []
    async with store_at(tmp_path / "root") as store:
        one, two = await two_trees(store)
    delete_from_tree(store, one)
    async with watched(tmp_path / "root", lost) as store:
        await until(lambda: lost)
        assert lost == [one.digest]
        assert store.is_warm(two.digest)


async def test_without_inotify_it_says_so_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def exhausted() -> None:
        raise OSError(24, "inotify instance limit reached")

    monkeypatch.setattr("cached.store.watch.Observer", exhausted)
    lost: list[Digest] = []
    async with watched(tmp_path / "root", lost) as store:
        await two_trees(store)
        assert any("limit reached" in warning for warning in store.warnings)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
