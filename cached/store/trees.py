"""Trees on disk: directories of hardlinks to blobs, published at once or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.store.layout import Layout


def build(layout: Layout, tree: Tree) -> Path:
    """Publish `tree` and return its path; idempotent. Its blobs must be committed. Raises DiskFault, NoSpace."""
    raise NotImplementedError


def check(layout: Layout, tree: Tree) -> bool:
    """Whether every file of the published tree is there and is its blob. Reads no data."""
    raise NotImplementedError


def remove(layout: Layout, tree: Digest) -> None:
    """Unpublish: readers see all of it or nothing. None there: nothing happens."""
    raise NotImplementedError


def scan(layout: Layout) -> Iterator[Digest]:
    """Every published tree. Foreign names are logged and left alone."""
    raise NotImplementedError


def remove_debris(layout: Layout) -> None:
    """Delete what unfinished builds and removals left. Only while no other build or removal runs."""
    raise NotImplementedError
