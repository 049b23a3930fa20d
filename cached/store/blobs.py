"""Blobs on disk: complete, immutable, named by their digest."""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cached.core.chunks import chunk_span
from cached.core.digest import Digest
from cached.kit.durable import sync_directory
from cached.store import journal
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.store.stage import Stage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Complete:
    """A complete blob, as its journal tells: sizes in bytes, and its chunks' BLAKE3, 32 bytes each."""

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
    """Make the directories of the store where they are missing, durably. Raises DiskFault or NoSpace.

    Their modes do not depend on the umask: pods read trees under other user ids, stages are private.
    """
    private = (layout.stages, layout.drafts, layout.quarantined)
    with disk_faults("making the directories of the store", layout.root):
        layout.root.parent.mkdir(parents=True, exist_ok=True)
        missing = [directory for directory in layout.directories if not directory.is_dir()]
        for directory in missing:
            directory.mkdir()
            directory.chmod(0o700 if directory in private else 0o755)
        for parent in {directory.parent for directory in missing}:
            sync_directory(parent)


def commit(layout: Layout, stage: Stage) -> None:
    """Move a sealed stage's data to the blob's path; it is there durably when this returns.

    The journal stays until `stage.discard()`, so that a crash before the index row is written can be made
    good with `adoptable`. Raises DiskFault or NoSpace; then the blob is there or not, but never in part.
    """
    if not stage.sealed:
        raise ValueError(f"the stage of blob {stage.blob} is not sealed")
    path = layout.blob(stage.blob)
    with disk_faults(f"committing blob {stage.blob}", layout.blobs):
        os.rename(layout.stage_data(stage.blob), path)
        sync_directory(path.parent)
        sync_directory(layout.stage(stage.blob))


def adoptable(layout: Layout, digest: Digest) -> Complete | None:
    """What a crash between commit and index row left: the blob in place, and its journal complete.

    None when there is no such blob; one without a complete journal cannot be vouched for.
    """
    entries = journal.read(layout.stage_journal(digest))
    if entries is None or entries.shape.blob != digest or not entries.complete:
        return None
    shape = entries.shape
    with disk_faults(f"looking for blob {digest}", layout.blobs):
        if _regular_size(layout.blob(digest)) != shape.size:
            return None
    hashes = b"".join(entries.hashes[index] for index in range(shape.count))
    return Complete(shape.size, shape.chunk_size, hashes)


def scan(layout: Layout) -> Iterator[tuple[Digest, int]]:
    """Every blob on disk and its size in bytes, in any order. Foreign files are logged and left alone.

    Raises DiskFault.
    """
    foreign: list[str] = []
    with disk_faults("listing the blobs", layout.blobs):
        for algorithm in _entries(layout.blobs, foreign):
            for fan in _entries(Path(algorithm.path), foreign):
                with os.scandir(fan.path) as found:
                    for entry in found:
                        digest = layout.digest_of_blob(algorithm.name, fan.name, entry.name)
                        if digest is not None and entry.is_file(follow_symlinks=False):
                            with suppress(FileNotFoundError):
                                yield digest, entry.stat(follow_symlinks=False).st_size
                        else:
                            foreign.append(entry.path)
    if foreign:
        logger.warning(
            "Files that are no blobs lie among the blobs.",
            extra={"files": len(foreign), "example": foreign[0]},
        )


def stages(layout: Layout) -> list[Partial]:
    """Every stage on disk, as its journal tells: no data is read. Raises DiskFault."""
    found = []
    with disk_faults("listing the stages", layout.stages), os.scandir(layout.stages) as entries:
        for entry in entries:
            digest = layout.digest_of_stage(entry.name)
            if digest is not None and entry.is_dir(follow_symlinks=False):
                found.append(_partial(layout, digest))
            elif entry.path != str(layout.drafts):
                logger.warning("A foreign file lies among the stages.", extra={"example": entry.path})
    return found


def remove(layout: Layout, digest: Digest) -> None:
    """Delete a blob, if it is there; its bytes are free once no tree links to it. Raises DiskFault."""
    with disk_faults(f"deleting blob {digest}", layout.blobs):
        layout.blob(digest).unlink(missing_ok=True)


def quarantine(layout: Layout, digest: Digest) -> Path | None:
    """Move a blob out of the way, for people to look at; None if it is not there. Raises DiskFault."""
    path = layout.quarantine(digest, secrets.token_hex(4))
    with disk_faults(f"putting blob {digest} into quarantine", layout.quarantined):
        try:
            os.rename(layout.blob(digest), path)
        except FileNotFoundError:
            return None
    return path


def _partial(layout: Layout, digest: Digest) -> Partial:
    allocated = 0
    with suppress(FileNotFoundError):
        allocated = os.lstat(layout.stage_data(digest)).st_blocks * 512
    entries = journal.read(layout.stage_journal(digest))
    if entries is None or entries.shape.blob != digest:
        return Partial(digest, 0, allocated, 0)
    shape = entries.shape
    journalled = sum(chunk_span(index, shape.size, shape.chunk_size)[1] for index in entries.hashes)
    return Partial(digest, shape.size, allocated, journalled)


def _entries(directory: Path, foreign: list[str]) -> Iterator[os.DirEntry[str]]:
    """The directories in `directory`; whatever else is there goes to `foreign`."""
    with os.scandir(directory) as found:
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                yield entry
            else:
                foreign.append(entry.path)


def _regular_size(path: Path) -> int | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
