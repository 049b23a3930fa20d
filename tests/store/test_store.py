from __future__ import annotations

from pathlib import Path

from .disk import some_bytes
from .house import assert_accounts_equal_the_disk, bring, store_at

A, B, C = (some_bytes(300_000, seed) for seed in range(3))


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
        assert record.tree == tree.digest
        assert_accounts_equal_the_disk(store)
