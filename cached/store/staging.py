"""A stage's files on disk: made, found again, removed."""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cached.core.chunks import chunk_span
from cached.store import journal
from cached.store.aligned import AlignedFile, open_regular, preallocate, round_up
from cached.store.audit import chunk_holds
from cached.store.journal import Entries, Journal, Shape
from cached.store.layout import Layout

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Staging:
    """The open files of a stage, with room for the whole blob, and the BLAKE3 of the chunks in it."""

    file: AlignedFile
    journal: Journal
    hashes: dict[int, bytes]


def open_staging(layout: Layout, shape: Shape) -> Staging:
    """Find the stage's files again, or make new ones where there are none to be used. Raises OSError."""
    entries = journal.read(layout.stage_journal(shape.blob))
    if entries is not None and entries.shape == shape:
        try:
            file = _reopen(layout.stage_data(shape.blob))
        except OSError as error:
            logger.warning(
                "A stage cannot be resumed; it is begun anew.",
                extra={"blob": shape.blob, "reason": error.strerror},
            )
        else:
            return _resume(layout, file, entries)
    return _create(layout, shape)


def remove_staging(directory: Path) -> None:
    """Remove a stage's directory, or whatever is in its place, if anything is there. Raises OSError."""
    if directory.is_symlink() or directory.is_file():
        directory.unlink()
    elif directory.exists():
        shutil.rmtree(directory)


def _create(layout: Layout, shape: Shape) -> Staging:
    directory = layout.stage(shape.blob)
    remove_staging(directory)
    directory.mkdir(0o700)
    try:
        # Not O_EXCL: where O_DIRECT is refused, some kernels have made the file by then.
        file = AlignedFile(layout.stage_data(shape.blob), os.O_RDWR | os.O_CREAT)
        try:
            preallocate(file.fd, round_up(shape.size))
            return Staging(file, Journal.create(layout.stage_journal(shape.blob), shape), {})
        except BaseException:
            file.close()
            raise
    except BaseException:
        remove_staging(directory)
        raise


def _resume(layout: Layout, file: AlignedFile, entries: Entries) -> Staging:
    """Count in the journalled chunks that are on disk as journalled. Closes `file` on any error."""
    shape = entries.shape
    try:
        preallocate(file.fd, round_up(shape.size))
        hashes = {}
        for index, expected in entries.hashes.items():
            with suppress(OSError):  # a chunk that cannot be read is one to write again
                if chunk_holds(file, *chunk_span(index, shape.size, shape.chunk_size), expected):
                    hashes[index] = expected
        logger.info(
            "Resumed a stage.",
            extra={"blob": shape.blob, "chunks": len(hashes), "lost": len(entries.hashes) - len(hashes)},
        )
        return Staging(file, Journal.resume(layout.stage_journal(shape.blob), entries), hashes)
    except BaseException:
        file.close()
        raise


def _reopen(data: Path) -> AlignedFile:
    fd = open_regular(data, os.O_RDONLY)
    try:
        os.fchmod(fd, 0o600)  # it may have been sealed
    finally:
        os.close(fd)
    return AlignedFile(data, os.O_RDWR)
