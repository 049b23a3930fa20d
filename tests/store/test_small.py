"""Blobs of bytes that are at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.tree import Tree, TreeFile

from .house import store_at, tree_of


async def test_a_blob_is_written_like_one_that_was_fetched(tmp_path: Path) -> None:
    tree = tree_of({"refs/main": b"commit", "empty": b""})
    async with store_at(tmp_path / "root") as store:
        reservation = await store.reserve(tree)
        for data in (b"commit", b""):
            await store.write(reservation, data)
            assert store.has_blob(Digest.sha256(data))
        path = await store.publish(reservation)
        await store.release(reservation)
        assert (path / "refs" / "main").read_bytes() == b"commit"
        assert [step.corrupt async for step in store.verify(tree.digest)][-1] == ()
    async with store_at(tmp_path / "root") as store:
        assert store.is_warm(tree.digest)


async def test_only_what_is_one_chunk(tmp_path: Path) -> None:
    data = bytes((1 << 20) + 1)
    tree = Tree.of([TreeFile("a", len(data), Digest.sha256(data))])
    async with store_at(tmp_path / "root") as store:
        reservation = await store.reserve(tree)
        with pytest.raises(ValueError, match="more than one chunk"):
            await store.write(reservation, data)
        await store.release(reservation)
        assert not store.has_blob(Digest.sha256(data))
