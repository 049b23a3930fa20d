"""Listing a directory without leaving it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from cached.core.digest import Digest
from cached.core.errors import Denied, InvalidRequest, NotFound
from cached.core.source import Selection, SourceFile
from cached.kit.filepin import file_pin
from cached.sources.file.uri import path_of, uri_of


class Walk:
    """One listing of what `uri` names. Blocks, and lets OSError through.

    Bounds are `roots`, or the directory itself where there are none; what is named below one of `fences`
    must then really lie below it. Each directory is entered once, by whatever name, so that no knot of
    links makes the listing longer than the disk is.
    """

    def __init__(self, roots: Sequence[Path], fences: Sequence[Path], uri: str, selection: Selection) -> None:
        """Raises Denied for a URI out of bounds."""
        self._uri = uri
        self._selection = selection
        self._named = path_of(uri)
        self._top = os.path.realpath(self._named, strict=True)
        self._bounds = [os.path.realpath(root) for root in roots] or [self._top]
        self._entered: set[tuple[int, int]] = set()
        near = [os.path.realpath(fence) for fence in fences if Path(self._named).is_relative_to(fence)]
        if not (self._within(self._top) if roots or not near else _below(near, self._top)):
            raise Denied(f"{uri} is outside the directories that may be read", hint="see sources.file.roots")

    def files(self) -> Iterator[SourceFile]:
        """All selected files, in any order.

        Raises InvalidRequest for a link out of bounds, for a directory met twice, and for a selected name
        that is no regular file; NotFound for a selected link that leads nowhere.
        """
        if not os.path.isdir(self._top):
            name = os.path.basename(self._named)
            if self._selection.takes(name):
                yield self._file(name, self._top)
            return
        todo = [(self._top, "")]
        while todo:
            directory, path = todo.pop()
            self._enter(directory, path)
            with os.scandir(directory) as entries:
                for entry in entries:
                    inner = path + entry.name
                    if entry.is_dir():
                        todo.append((self._real(entry, inner), inner + "/"))
                    elif self._selection.takes(inner):
                        yield self._file(inner, self._real(entry, inner))

    def _enter(self, directory: str, path: str) -> None:
        status = os.stat(directory)
        if (status.st_dev, status.st_ino) in self._entered:
            raise InvalidRequest(
                f"{path!r} of {self._uri} is a directory met before, by another name",
                hint="name the directory wanted, or remove the link",
            )
        self._entered.add((status.st_dev, status.st_ino))

    def _real(self, entry: os.DirEntry[str], path: str) -> str:
        if not entry.is_symlink():
            return entry.path
        try:
            real = os.path.realpath(entry.path, strict=True)
        except FileNotFoundError:
            raise NotFound(f"{path!r} of {self._uri} is a link that leads nowhere") from None
        if not self._within(real):
            raise InvalidRequest(
                f"{path!r} of {self._uri} is a link that leads out of bounds",
                hint="copy the file, or name a directory around both in sources.file.roots",
            )
        return real

    def _within(self, real: str) -> bool:
        return _below(self._bounds, real)

    def _file(self, path: str, real: str) -> SourceFile:
        status = os.stat(real, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidRequest(f"{path!r} of {self._uri} is no regular file", hint="exclude it")
        uri, pin = uri_of(real), file_pin(status)
        return SourceFile(path, status.st_size, uri, pin, Digest.of_origin(uri, pin, status.st_size))


def _below(bounds: Sequence[str], real: str) -> bool:
    return any(os.path.commonpath((bound, real)) == bound for bound in bounds)
