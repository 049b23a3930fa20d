"""Trees on disk: directories of hardlinks to blobs, published at once or not at all."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cached.core.digest import Digest
from cached.core.errors import DiskFault
from cached.core.names import check_path
from cached.core.tree import Tree, TreeFile
from cached.kit.durable import sync_directory
from cached.store.faults import disk_faults
from cached.store.layout import Layout

logger = logging.getLogger(__name__)


def build(layout: Layout, tree: Tree) -> Path:
    """Publish `tree`, durably, and return its path; one that is there already stays as it is.

    Its blobs must be committed. Raises DiskFault or NoSpace, and then nothing is published.
    """
    path = layout.tree(tree.digest)
    with disk_faults(f"publishing tree {tree.digest}", layout.trees):
        if not path.is_dir():
            draft = layout.draft(tree.digest, secrets.token_hex(4))
            try:
                _fill(layout, tree, draft)
                _rename_unless_there(draft, path)
            finally:
                _delete(draft)
        if stat.S_IMODE(path.stat().st_mode) != 0o555:
            # Not before: moving a directory takes the right to write to it. A crash may have come between.
            path.chmod(0o555)
            sync_directory(path)
            sync_directory(layout.trees)
    return path


def check(layout: Layout, tree: Tree) -> bool:
    """Whether every file of the published tree is there and is its blob. Reads no data. Raises DiskFault."""
    root = layout.tree(tree.digest)
    with disk_faults(f"checking tree {tree.digest}", layout.trees):
        try:
            return all(_is_blob(layout, file, os.lstat(root / file.path)) for file in tree.files)
        except (FileNotFoundError, NotADirectoryError):
            return False


def remove(layout: Layout, tree: Digest) -> None:
    """Unpublish: readers see all of it or nothing. None there: nothing happens. Raises DiskFault."""
    path = layout.tree(tree)
    draft = layout.draft(tree, secrets.token_hex(4))
    with disk_faults(f"removing tree {tree}", layout.trees):
        try:
            path.chmod(0o755)
            path.rename(draft)
        except FileNotFoundError:
            return
        _delete(draft)


def scan(layout: Layout) -> Iterator[Digest]:
    """Every published tree, in any order. Foreign names are logged and left alone. Raises DiskFault."""
    with disk_faults("listing the trees", layout.trees), os.scandir(layout.trees) as entries:
        for entry in entries:
            digest = layout.digest_of_tree(entry.name)
            if digest is not None and entry.is_dir(follow_symlinks=False):
                yield digest
            else:
                logger.warning("A foreign file lies among the trees.", extra={"example": entry.path})


def remove_debris(layout: Layout) -> None:
    """Delete what unfinished builds and removals left; none may be running. Raises DiskFault."""
    with disk_faults("removing unfinished trees", layout.drafts):
        for draft in list(layout.drafts.iterdir()):
            _delete(draft)


def _fill(layout: Layout, tree: Tree, draft: Path) -> None:
    """Make the whole tree at `draft`, all of it durable, all but its top read-only.

    Nothing is followed on the way: `draft` is new and private, and so is every directory made in it.
    """
    directories = {
        parent for file in tree.files for parent in PurePosixPath(check_path(file.path)).parents
    } | {PurePosixPath()}
    parents_first = sorted(directories, key=lambda directory: len(directory.parts))
    for directory in parents_first:
        (draft / directory).mkdir(0o700)
    for file in tree.files:
        link = draft / file.path
        os.link(layout.blob(file.blob), link, follow_symlinks=False)
        if not _is_blob(layout, file, os.lstat(link)):
            raise DiskFault(
                f"blob {file.blob} is not what tree {tree.digest} needs: a file of {file.size} bytes",
                hint="something other than the daemon changed the store; verify the model",
            )
    for directory in reversed(parents_first):
        if directory.parts:
            (draft / directory).chmod(0o555)
        sync_directory(draft / directory)


def _rename_unless_there(draft: Path, path: Path) -> None:
    try:
        draft.rename(path)
    except OSError:
        if not path.is_dir():
            raise


def _is_blob(layout: Layout, file: TreeFile, found: os.stat_result) -> bool:
    """Whether `found` is the very file of the blob, of the right size."""
    blob = os.lstat(layout.blob(file.blob))
    same = (found.st_dev, found.st_ino) == (blob.st_dev, blob.st_ino)
    return same and stat.S_ISREG(found.st_mode) and found.st_size == file.size


def _delete(path: Path) -> None:
    """Delete a directory tree that may be read-only. None there: nothing happens."""
    if path.is_symlink() or path.is_file():
        path.unlink()
        return
    for directory, _, _ in os.walk(path):
        os.chmod(directory, 0o700)
    if path.exists():
        shutil.rmtree(path)
