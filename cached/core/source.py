"""The port to where bytes are authoritative. Adapters live in `cached.sources`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from cached.core.digest import Digest
from cached.core.globs import glob_takes


class CrcKind(StrEnum):
    """Checksums of a whole file that a source may state beside its digest."""

    CRC32 = "crc32"
    CRC32C = "crc32c"
    CRC64NVME = "crc64nvme"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a source belong to the tree.

    Patterns are globs, case-sensitive, on the path below the source's prefix. A pattern without `/` is
    matched with the last component, at any depth. Any other is matched with the whole path: `*`, `?` and
    `[…]` stay within a component, the component `**` takes any number of directories, a leading `/` adds
    nothing but its `/`, a trailing one means all files below. No include pattern means all files.
    within: of what include and exclude leave, what else is to be taken by a pattern; no pattern means all.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    within: tuple[str, ...] = ()

    def takes(self, path: str) -> bool:
        """Whether the file at `path` belongs to the tree; exclude wins over include."""

        def taken_by(patterns: tuple[str, ...]) -> bool:
            return any(glob_takes(pattern, path) for pattern in patterns)

        chosen = (not self.include or taken_by(self.include)) and (not self.within or taken_by(self.within))
        return chosen and not taken_by(self.exclude)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file as its source describes it.

    path: where it stands in the tree. size: bytes. uri: where it is read. pin: what fixes its bytes
    there (version id, ETag, inode and mtime). blob: its name here. crc: a checksum of the whole file
    that the source promises, if any, as an unsigned integer.
    """

    path: str
    size: int
    uri: str
    pin: str
    blob: Digest
    crc: tuple[CrcKind, int] | None = None


@dataclass(frozen=True, slots=True)
class RangeRequest:
    """How to read any range of one file, ready to send: no further credentials are needed.

    url: `http://`, `https://` or `file://`. headers: sent with every range. expires_at: Unix time after
    which it must be opened anew, or None. etag: what each answer's ETag must equal, when known; of a
    `file://` URL, what `cached.kit.filepin.file_pin` must say of the open file, before and after a range.
    Never logged: the URL and the headers may sign for the reader.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_at: float | None = None
    etag: str = ""

    def __repr__(self) -> str:
        return f"RangeRequest({self.url.partition('?')[0]})"


class Readable(Protocol):
    """Where the bytes of files are read."""

    @property
    def scheme(self) -> str:
        """The URI scheme served, such as `s3`."""
        ...

    async def open(self, file: SourceFile) -> RangeRequest:
        """Make ready to read ranges of `file`. Raises SourceChanged if its pin no longer holds."""
        ...


class Source(Readable, Protocol):
    """An adapter to one kind of source.

    Errors: NotFound, Denied, Unauthenticated, SourceUnavailable, InvalidRequest (a bad URI or a hostile
    listing), NotConfigured (no such profile, the wrong region), each naming the URI; never an exception
    of the library beneath.
    """

    async def list(self, uri: str, selection: Selection) -> list[SourceFile]:
        """All files under `uri` that `selection` takes, in any order, or the one file that `uri` names.

        Raises NotFound when there is none. Paths are not yet checked; Tree.of does that.
        """
        ...

    async def probe(self, uri: str) -> None:
        """Ask, by two small questions at most, whether files under `uri` can be listed and one be read now.

        Raises what `list` raises when not.
        """
        ...

    async def close(self) -> None: ...
