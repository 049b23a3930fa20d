"""Reading and changing files such that all can be undone, and nothing is ever half done."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.containerd.marks import Marked, has_marks
from cached.core.errors import InvalidRequest
from cached.kit.durable import sync_directory, write_atomic

_KEPT: Final = ".before-cached"
_DRAFT: Final = ".cached-draft"
_MOST_BYTES: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class Change:
    """A file before and after; None where there is none. directories: how many above it come or go with it.

    restores: after is the original that was kept beside it.
    """

    file: Path
    before: str | None
    after: str | None
    directories: int = 0
    restores: bool = False

    @property
    def diff(self) -> str:
        """Unified, and without context: what stands beside our lines may be secret."""
        (old, was), (new, is_) = (
            ([], "/dev/null") if text is None else (text.splitlines(keepends=True), str(self.file))
            for text in (self.before, self.after)
        )
        lines = difflib.unified_diff(old, new, was, is_, n=0)
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
        )

    @property
    def action(self) -> str:
        """In a word."""
        if self.before == self.after:
            return "unchanged"
        if self.after is None:
            return "removed"
        if self.before is None:
            return "created"
        return "restored" if self.restores else "changed"


def kept(file: Path) -> Path:
    """Where the original lies for as long as the file has our passage."""
    return file.with_name(file.name + _KEPT)


@contextmanager
def explained() -> Iterator[None]:
    """What the system refuses, as InvalidRequest."""
    try:
        yield
    except OSError as error:
        file = error.filename2 or error.filename or "a file"
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        raise InvalidRequest(f"cannot use {file}: {error.strerror}", hint=hint) from None


def read(file: Path) -> str | None:
    """The text; None when there is no such file. Raises InvalidRequest for what is no plain text file."""
    with explained():
        try:
            with open(file, "rb") as opened:
                data = opened.read(_MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
    try:
        if len(data) <= _MOST_BYTES:
            return data.decode()
    except UnicodeDecodeError:
        pass
    raise InvalidRequest(f"{file} is no text file of at most {_MOST_BYTES} bytes", hint="look at it by hand")


def is_there(file: Path) -> bool:
    """Whether there is such a file or directory."""
    with explained():
        return file.exists()


def is_ours(file: Path) -> bool:
    """Whether there is something to undo. What cannot be read is somebody else's."""
    try:
        text = read(file)
    except InvalidRequest:
        return False
    return text is not None and (has_marks(text) or is_there(kept(file)))


def undone(file: Path) -> Change | None:
    """The file as it was before; None when nothing of ours is there.

    What others have changed since stays.
    """
    text = read(file)
    original = read(kept(file))
    marked = Marked.of(text or "", str(file))
    if text is None or marked.passage is None:
        return Change(file, text, text) if text is not None and original == text else None
    if original is not None and marked.came_from(original):
        return Change(file, text, original, restores=True)
    if marked.passage.whole and not marked.own:
        return Change(file, text, None, marked.passage.directories)
    return Change(file, text, marked.own)


def apply(changes: Iterable[Change]) -> None:
    """Make them, one after another. Raises InvalidRequest for what the system refuses; those made stay."""
    emptied: set[Path] = set()
    mask = os.umask(0)  # files get the modes of their originals
    try:
        for change in changes:
            with explained():
                for draft in change.file.parent.glob(f".{change.file.name}.[0-9]*"):
                    draft.unlink()  # a killed run left it
                if change.after is None:
                    emptied |= set(change.file.parents[1 : change.directories])
                    _remove(change)
                elif change.before is None:
                    _create(change, change.after)
                else:
                    _replace(change, change.after)
        for directory in sorted(emptied, reverse=True):
            with suppress(OSError):  # others have put something there
                directory.rmdir()
    finally:
        os.umask(mask)


def _create(change: Change, after: str) -> None:
    directory = change.file.parent
    if not change.directories:
        write_atomic(change.file, after.encode())
        return
    # containerd takes a directory for what is meant, even while it is empty: so it comes with its file.
    for above in reversed(directory.parents):
        if not above.exists():
            above.mkdir(0o755)
    draft = _draft(directory)
    draft.mkdir(0o755)
    write_atomic(draft / change.file.name, after.encode())
    draft.rename(directory)
    sync_directory(directory.parent)


def _replace(change: Change, after: str) -> None:
    if change.file.is_symlink():
        raise InvalidRequest(
            f"{change.file} is a link, so that something else cares for it",
            hint=f"have that change {change.file.resolve()}, or put a file there",
        )
    if change.restores:
        kept(change.file).rename(change.file)
        sync_directory(change.file.parent)
    elif after != change.before:
        was = change.file.stat()
        if Marked.of(change.before or "", str(change.file)).passage is None:
            kept(change.file).unlink(missing_ok=True)
            os.link(change.file, kept(change.file))
        write_atomic(change.file, after.encode(), was.st_mode & 0o7777)
        os.chown(change.file, was.st_uid, was.st_gid)
    if Marked.of(after, str(change.file)).passage is None:
        kept(change.file).unlink(missing_ok=True)
        sync_directory(change.file.parent)


def _remove(change: Change) -> None:
    directory = change.file.parent
    if change.directories and [path.name for path in directory.iterdir()] == [change.file.name]:
        draft = _draft(directory)
        directory.rename(draft)
        shutil.rmtree(draft)
        sync_directory(directory.parent)
    else:
        change.file.unlink()
        sync_directory(directory)


def sweep(*directories: Path) -> None:
    """Take away what killed runs have left, of directories that they made or removed below these."""
    with explained():
        for directory in directories:
            for draft in directory.glob(f".*{_DRAFT}"):
                shutil.rmtree(draft)


def _draft(directory: Path) -> Path:
    """A name beside it that no registry has."""
    return directory.with_name(f".{directory.name}{_DRAFT}")
