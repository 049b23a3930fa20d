"""`file://`: directories as sources."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from cached.core.errors import (
    CachedError,
    Denied,
    InvalidRequest,
    NotFound,
    SourceChanged,
    SourceUnavailable,
)
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.kit.filepin import file_pin
from cached.kit.pool import Pool
from cached.sources.counting import counted_errors
from cached.sources.file.uri import path_of
from cached.sources.file.walk import Walk
from cached.telemetry.metrics import Metrics

_WORKERS: Final = 4
_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
_WRONG: Final = frozenset({errno.ELOOP, errno.ENAMETOOLONG})

T = TypeVar("T")


class FileSource:
    """Implements `cached.core.source.Source` for `file:///directory` and `file:///file`.

    Only regular files are taken. Links are followed as long as they stay within bounds: `roots` where
    there are any, else the directory that the URI names. So a snapshot of a Hugging Face cache, whose
    links lead to a `blobs` directory beside it, wants a directory around both as a root. With roots,
    nothing outside of them is read at all. A file is pinned by `file_pin`, and named where it really is.

    fences: directories below which pods may name what they like; without roots, a link there leads to
    nothing outside. Else whoever may write there could have this process read any file of the node.
    """

    scheme: Final = "file"

    def __init__(
        self,
        metrics: Metrics,
        roots: Sequence[Path] = (),
        fences: Sequence[Path] = (),
        patience: float = 60.0,
    ) -> None:
        """patience: seconds after which a filesystem that does not answer counts as unavailable."""
        self._metrics = metrics
        self._roots = tuple(roots)
        self._fences = tuple(fences)
        self._patience = patience
        self._pool = Pool("file", _WORKERS)

    async def list(self, uri: str, selection: Selection) -> list[SourceFile]:
        """See Source.list, and Walk.files for what is refused."""
        files = await self._run(uri, lambda: list(Walk(self._roots, self._fences, uri, selection).files()))
        if not files:
            with counted_errors(self._metrics, self.scheme):
                raise NotFound(f"no file of {uri} is selected", hint="check the path, include and exclude")
        return files

    async def probe(self, uri: str) -> None:
        """See Source.probe. Leave to read is asked of the first file found."""
        await self._run(uri, lambda: _first(self._roots, self._fences, uri))

    async def open(self, file: SourceFile) -> RangeRequest:
        """See Source.open. The reader compares `etag` with the pin of the file that it opened."""
        return await self._run(file.uri, lambda: _pinned(file))

    async def close(self) -> None:
        """Calls under way end by themselves: one that hangs in a dead filesystem is not waited for."""
        self._pool.executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, uri: str, work: Callable[[], T]) -> T:
        with counted_errors(self._metrics, self.scheme):
            try:
                async with asyncio.timeout(self._patience):
                    return await self._pool.run(_translated, uri, work)
            except TimeoutError:
                raise SourceUnavailable(
                    f"{uri} did not answer within {self._patience:g} s", hint="is its filesystem well?"
                ) from None


def _first(roots: Sequence[Path], fences: Sequence[Path], uri: str) -> None:
    file = next(Walk(roots, fences, uri, Selection()).files(), None)
    if file is None:
        raise NotFound(f"no file below {uri}", hint="check the path")
    _pinned(file)


def _pinned(file: SourceFile) -> RangeRequest:
    """`file` as it is to be read, if it still is what it was, and still where it was."""
    real = path_of(file.uri)
    try:
        same = file_pin(os.stat(real, follow_symlinks=False)) == file.pin
        same = same and os.path.realpath(real, strict=True) == real
    except (FileNotFoundError, NotADirectoryError):
        same = False
    if not same:
        raise SourceChanged(f"{file.uri} is not the file that it was")
    if not os.access(real, os.R_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, "not readable")
    return RangeRequest(file.uri, etag=file.pin)


def _translated(uri: str, work: Callable[[], T]) -> T:
    try:
        return work()
    except OSError as error:
        raise _meaning(error, uri) from None


def _meaning(error: OSError, uri: str) -> CachedError:
    why = os.strerror(error.errno or 0)
    if error.errno in _MISSING:
        return NotFound(f"no file or directory {uri}")
    if error.errno in _FORBIDDEN:
        return Denied(f"{uri} may not be read ({why})", hint="give the daemon's user read access")
    if error.errno in _WRONG:
        return InvalidRequest(f"{uri} is nothing that can be opened ({why})")
    return SourceUnavailable(f"{uri} cannot be read ({why})", hint="is its filesystem well?")
