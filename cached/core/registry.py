"""The port to registries of container images. The adapter lives in `cached.sources.oci`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cached.core.digest import Digest
from cached.core.image import Repository
from cached.core.source import RangeRequest, SourceFile


@dataclass(frozen=True, slots=True)
class Reader:
    """On whose behalf a registry is asked.

    authorization: the value of the header with which a puller proves itself, passed on as it is; None lets
    the node speak for itself. anonymous: without any credentials, the node's own included. Never logged.
    """

    authorization: str | None = field(default=None, repr=False)
    anonymous: bool = False


NODE: Final = Reader()
"""With the node's own credentials, or without any where it has none."""
ANYBODY: Final = Reader(anonymous=True)
"""As anybody may."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a registry says of a manifest or a blob. size: bytes. media_type: of a manifest."""

    digest: Digest
    size: int
    media_type: str = ""


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer that is passed on as it is: of the headers, those that a client may want."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Registry(Protocol):
    """All upstreams that are allowed, by their hosts.

    Every method raises NotFound, Denied (also for a host that is not allowed), Unauthenticated with the
    registry's challenge, SourceUnavailable (it does not answer, or asks to be asked less), NotConfigured
    (unusable credentials or CA, a token service that is not believed), each naming the image; never an
    exception of the library beneath.
    """

    @property
    def hosts(self) -> frozenset[str]:
        """The upstreams that are allowed, as image names have them."""
        ...

    async def manifest(self, repository: Repository, reference: str, reader: Reader) -> Found:
        """What `reference`, a tag or a digest, is now, without its bytes."""
        ...

    async def blob(self, repository: Repository, digest: Digest, reader: Reader) -> Found:
        """Whether the repository holds the blob for this reader, and its size."""
        ...

    async def open_blob(self, repository: Repository, file: SourceFile, reader: Reader) -> RangeRequest:
        """Make ready to read ranges of a manifest or blob that `file.uri` names (see `file_of`)."""
        ...

    async def passed(
        self, repository: Repository, path: str, query: Mapping[str, str], reader: Reader
    ) -> Passed:
        """GET `path` below the repository, such as `tags/list` or `referrers/sha256:…`; at most 4 MiB."""
        ...


def file_of(repository: Repository, found: Found) -> SourceFile:
    """A manifest or blob as a file; with a media type it is a manifest. Its pin is the digest itself.

    Its URI is `oci://HOST/NAME/manifests/DIGEST`, or `oci://HOST/NAME/blobs/DIGEST`.
    """
    kind = "manifests" if found.media_type else "blobs"
    uri = f"oci://{repository}/{kind}/{found.digest}"
    return SourceFile(blob_path(found.digest), found.size, uri, found.digest, found.digest)


def blob_path(digest: Digest) -> str:
    """Where a blob of an image stands in a tree: as in an OCI image layout."""
    return f"blobs/{digest.algorithm}/{digest.hex}"
