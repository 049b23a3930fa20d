"""Blobs on disk: complete, immutable, named by their digest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cached.core.digest import Digest
from cached.store.layout import Layout
from cached.store.stage import Stage


@dataclass(frozen=True, slots=True)
class Complete:
    """A complete blob as its journal tells: sizes in bytes, `hashes` the BLAKE3 of its chunks, 32 bytes each."""

    size: int
    chunk_size: int
    hashes: bytes


@dataclass(frozen=True, slots=True)
class Partial:
    """A stage on disk, in bytes: of the whole blob (0 when its journal is lost), allocated, journalled."""

    blob: Digest
    size: int
    allocated: int
    journalled: int


def prepare(layout: Layout) -> None:
    """Make the directories of the store, where they are not there yet."""
    raise NotImplementedError


def commit(layout: Layout, stage: Stage) -> None:
    """Move a sealed stage's data to the blob's path, durably. Its journal stays until `stage.discard()`."""
    raise NotImplementedError


def adoptable(layout: Layout, digest: Digest) -> Complete | None:
    """What a crash between commit and index row left: the blob is in place and its journal complete."""
    raise NotImplementedError


def scan(layout: Layout) -> Iterator[tuple[Digest, int]]:
    """Every blob on disk and its size in bytes, in any order. Foreign files are logged and left alone."""
    raise NotImplementedError


def stages(layout: Layout) -> list[Partial]:
    """Every stage on disk. Cheap: reads journals, no data."""
    raise NotImplementedError


def remove(layout: Layout, digest: Digest) -> None:
    """Delete a blob; its bytes are free once no tree links to it. None there: nothing happens."""
    raise NotImplementedError


def quarantine(layout: Layout, digest: Digest) -> Path | None:
    """Move a blob out of the way for people to look at; None if it is not there."""
    raise NotImplementedError
