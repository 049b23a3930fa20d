"""What the mirror is told of images. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from cached.core.digest import Digest
from cached.core.image import Repository
from cached.core.registry import Passed


@dataclass(frozen=True, slots=True)
class Pull:
    """What a local puller asks for. authorization: the value of the header of that name, None without one."""

    repository: Repository
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ManifestView:
    """A manifest: its digest, media type and size in bytes. stale: its tag's registry does not answer."""

    digest: Digest
    media_type: str
    size: int
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """Verified bytes of a blob: `length` of them from `offset` on, read from `fd` at that place.

    Whoever is given it closes `fd`.
    """

    fd: int
    offset: int
    length: int


class BlobReader(Protocol):
    """A blob on its way to a puller."""

    async def piece(self, offset: int, most: int) -> Piece:
        """The next bytes from `offset` on, `most` at most, as soon as they are here and verified.

        `offset` lies within the blob. Raises what ends a fetch. Cancelled, it leaves nothing open.
        """
        ...


class ImageSource(Protocol):
    """What the mirror asks of the engine.

    All raise NotFound, Denied, Unauthenticated with a challenge for the puller, SourceUnavailable and
    the other errors of `cached.core.errors`. Nothing here waits for more than about ten seconds, but for
    pieces.
    """

    def upstream(self, host: str) -> str:
        """The upstream that a request with `ns=host` is about; of one without (""), the only one there is.

        Raises NotFound for any other.
        """
        ...

    async def manifest(self, pull: Pull, reference: str) -> ManifestView:
        """What `reference`, a tag or a digest, is now. Its bytes need not be here."""
        ...

    async def manifest_bytes(self, pull: Pull, reference: str) -> tuple[ManifestView, bytes]:
        """The same with its bytes, verified."""
        ...

    async def blob(self, pull: Pull, digest: Digest) -> int:
        """The size of a blob that the repository holds, in bytes."""
        ...

    def read(self, pull: Pull, digest: Digest, size: int) -> AbstractAsyncContextManager[BlobReader]:
        """Bring a blob here, if it is not, and read it meanwhile. `blob` said yes to it just now.

        Leaving the block harms nobody else who reads it.
        """
        ...

    async def passed(self, pull: Pull, path: str, query: Mapping[str, str]) -> Passed:
        """Ask the registry itself for `path` below the repository."""
        ...
