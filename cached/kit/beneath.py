"""Directories below a root, reached without following any link."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

_FLAGS: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def open_beneath(root: Path, relative: PurePosixPath) -> Iterator[int]:
    """A descriptor of the directory `relative` below `root`, for the block; good for *at calls only.

    `root` itself may be reached through links: whoever names it vouches for it. Raises OSError: ENOENT when
    something is missing, ENOTDIR for a link or a file on the way, EINVAL for what is not plain and relative.
    """
    if relative.is_absolute() or ".." in relative.parts:
        raise OSError(errno.EINVAL, "not a plain relative path", str(relative))
    held = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in relative.parts:
            inner = os.open(name, _FLAGS, dir_fd=held)
            os.close(held)
            held = inner
        yield held
    finally:
        os.close(held)


@contextmanager
def open_directory(name: str, directory: int) -> Iterator[int]:
    """A descriptor of what stands, or is mounted, at `name` in the open `directory`; raises as above."""
    held = os.open(name, _FLAGS, dir_fd=directory)
    try:
        yield held
    finally:
        os.close(held)


def ensure_directory(name: str, directory: int, mode: int) -> bool:
    """Make the directory `name` in the open `directory`; False when something of that name is there."""
    with suppress(FileExistsError):
        os.mkdir(name, mode, dir_fd=directory)
        return True
    return False
