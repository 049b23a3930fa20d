from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import DiskFault, InvalidRequest
from cached.core.tree import Tree, TreeFile
from cached.store import blobs, trees
from cached.store.layout import Layout

from .disk import CHUNK, committed, new_layout, some_bytes, unprivileged

CONTENT = {
    "config.json": b"{}",
    "weights/a.safetensors": some_bytes(CHUNK + 1),
    "weights/again/a.safetensors": some_bytes(CHUNK + 1),
    "weights/empty": b"",
    "other/empty too": b"",
}


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_layout(tmp_path / "root")


def tree_of(layout: Layout, content: dict[str, bytes] = CONTENT) -> Tree:
    """A tree whose blobs are in the store."""
    for data in set(content.values()):
        committed(layout, data)
    return Tree.of(TreeFile(path, len(data), Digest.sha256(data)) for path, data in content.items())


def read_all(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_tree_is_its_files_and_nothing_else(layout: Layout) -> None:
    tree = tree_of(layout)
    path = trees.build(layout, tree)
    assert path == layout.tree(tree.digest)
    assert read_all(path) == CONTENT
    assert (path / "config.json").samefile(layout.blob(Digest.sha256(b"{}")))
    assert trees.check(layout, tree)
    assert list(trees.scan(layout)) == [tree.digest]
    assert list(layout.drafts.iterdir()) == []


def test_it_is_read_only_all_through(layout: Layout) -> None:
    path = trees.build(layout, tree_of(layout))
    for entry in (path, *path.rglob("*")):
        assert entry.stat().st_mode & 0o777 == (0o555 if entry.is_dir() else 0o444)


def test_building_again_changes_nothing(layout: Layout) -> None:
    tree = tree_of(layout)
    first = trees.build(layout, tree).stat()
    assert trees.build(layout, tree).stat() == first


def test_a_tree_that_was_built_meanwhile_is_taken_as_it_is(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tree_of(layout)
    fill = trees._fill

    def fill_while_another_publishes(layout: Layout, tree: Tree, draft: Path) -> None:
        monkeypatch.undo()
        trees.build(layout, tree)
        fill(layout, tree, draft)

    monkeypatch.setattr(trees, "_fill", fill_while_another_publishes)
    assert read_all(trees.build(layout, tree)) == CONTENT
    assert list(layout.drafts.iterdir()) == []


def test_a_missing_blob_publishes_nothing(layout: Layout) -> None:
    tree = tree_of(layout)
    blobs.remove(layout, Digest.sha256(b""))
    with pytest.raises(DiskFault, match=tree.digest):
        trees.build(layout, tree)
    assert list(layout.trees.iterdir()) == []
    assert list(layout.drafts.iterdir()) == []


@pytest.mark.parametrize("harm", ["another length", "a symlink"])
def test_a_blob_that_is_not_what_it_was_publishes_nothing(layout: Layout, harm: str) -> None:
    tree = tree_of(layout)
    blob = layout.blob(Digest.sha256(b"{}"))
    if harm == "another length":
        blob.chmod(0o644)
        blob.write_bytes(b"{ }")
    else:
        blob.unlink()
        blob.symlink_to("ab")  # as long as the blob
    with pytest.raises(DiskFault, match=Digest.sha256(b"{}")):
        trees.build(layout, tree)
    assert list(layout.trees.iterdir()) == []
    assert list(layout.drafts.iterdir()) == []


@pytest.mark.parametrize("path", ["../out", "/abs", "a/../../out", "a\0b", ""])
def test_hostile_paths_touch_nothing(layout: Layout, path: str) -> None:
    blob = committed(layout, b"x")
    unchecked = Tree((TreeFile(path, 1, blob),))
    with pytest.raises(InvalidRequest):
        trees.build(layout, unchecked)
    assert list(layout.drafts.iterdir()) == []
    assert layout.blob(blob).stat().st_nlink == 1


def test_check_sees_every_file_that_is_not_its_blob(layout: Layout) -> None:
    tree = tree_of(layout)
    assert not trees.check(layout, tree)
    path = trees.build(layout, tree)
    victim = path / "weights" / "again" / "a.safetensors"
    data = victim.read_bytes()
    victim.parent.chmod(0o755)
    victim.unlink()
    assert not trees.check(layout, tree)
    victim.write_bytes(data)
    assert not trees.check(layout, tree)
    victim.unlink()
    victim.symlink_to(layout.blob(Digest.sha256(data)))
    assert not trees.check(layout, tree)
    victim.unlink()
    os.link(layout.blob(Digest.sha256(data)), victim)
    assert trees.check(layout, tree)
    blobs.remove(layout, Digest.sha256(data))
    assert not trees.check(layout, tree)


def test_a_file_where_a_directory_was_fails_the_check(layout: Layout) -> None:
    tree = tree_of(layout)
    path = trees.build(layout, tree)
    path.chmod(0o755)
    (path / "other").chmod(0o755)
    shutil.rmtree(path / "other")
    (path / "other").touch()
    assert not trees.check(layout, tree)


def test_removing_leaves_blobs_and_open_files_alone(layout: Layout) -> None:
    tree = tree_of(layout)
    path = trees.build(layout, tree)
    with (path / "config.json").open("rb") as reader:
        trees.remove(layout, tree.digest)
        trees.remove(layout, tree.digest)
        assert reader.read() == b"{}"
    assert list(trees.scan(layout)) == []
    assert list(layout.drafts.iterdir()) == []
    assert len(list(blobs.scan(layout))) == len(set(CONTENT.values()))
    assert read_all(trees.build(layout, tree)) == CONTENT


def test_debris_of_a_crash_is_removed_and_trees_stay(layout: Layout, tmp_path: Path) -> None:
    tree = tree_of(layout)
    path = trees.build(layout, tree)
    other = Tree.of(file for file in tree.files if file.path.startswith("weights/"))
    trees.build(layout, other).chmod(0o755)
    layout.tree(other.digest).rename(layout.draft(other.digest, "crashed"))
    (layout.drafts / "link").symlink_to(tmp_path)
    (layout.drafts / "file").touch()
    trees.remove_debris(layout)
    assert list(layout.drafts.iterdir()) == []
    assert read_all(path) == CONTENT


def test_a_crash_just_before_the_last_step_is_made_good(layout: Layout) -> None:
    tree = tree_of(layout)
    trees.build(layout, tree).chmod(0o755)
    assert trees.build(layout, tree).stat().st_mode & 0o777 == 0o555


def test_foreign_names_are_reported_and_left_alone(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    tree = tree_of(layout)
    trees.build(layout, tree)
    (layout.trees / "note").touch()
    (layout.trees / ("0" * 64)).symlink_to(layout.tree(tree.digest))
    with caplog.at_level(logging.WARNING):
        assert list(trees.scan(layout)) == [tree.digest]
    assert len(caplog.records) == 2


def test_all_of_it_works_for_a_user_who_is_not_root() -> None:
    with unprivileged() as place:
        layout = new_layout(place / "root")
        tree = tree_of(layout)
        path = trees.build(layout, tree)
        assert read_all(path) == CONTENT
        with pytest.raises(PermissionError):
            (path / "weights" / "more").touch()
        trees.remove(layout, tree.digest)
        assert list(layout.drafts.iterdir()) == []
