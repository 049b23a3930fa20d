"""An ImageSource over real files, which does as it is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.core.image import Repository
from cached.core.manifest import OCI_MANIFEST
from cached.core.registry import Passed
from cached.engine.images.views import ManifestView, Piece, Pull

HOST = "registry.example"
REPOSITORY = Repository(HOST, "team/app")


class Blob:
    """A file of which `here` bytes have arrived. error: what the next one who wants more is told."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        self.here = size
        self.error: Exception | None = None
        self.news = asyncio.Event()
        self.pieces: list[tuple[int, int]] = []

    def arrive(self, here: int) -> None:
        self.here = here
        self._tell()

    def fail(self, error: Exception) -> None:
        self.error = error
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


@dataclass
class Reader:
    """Implements BlobReader."""

    blob: Blob
    delay: float

    async def piece(self, offset: int, most: int) -> Piece:
        assert 0 <= offset < self.blob.size
        assert 0 < most <= 8 << 20
        if self.delay:
            await asyncio.sleep(self.delay)
        while self.blob.here <= offset:
            if self.blob.error is not None:
                raise self.blob.error
            await self.blob.news.wait()
        length = min(most, self.blob.here - offset)
        self.blob.pieces.append((offset, length))
        return Piece(os.open(self.blob.path, os.O_RDONLY), offset, length)


@dataclass
class FakeImages:
    """Implements ImageSource. delay: seconds that everything takes. reading: blobs that are being read."""

    root: Path
    repository: Repository = REPOSITORY
    blobs: dict[Digest, Blob] = field(default_factory=dict)
    manifests: dict[str, tuple[ManifestView, bytes]] = field(default_factory=dict)
    lists: dict[str, Passed] = field(default_factory=dict)
    asked: list[tuple[str, Pull, str]] = field(default_factory=list)
    queries: list[Mapping[str, str]] = field(default_factory=list)
    error: Exception | None = None
    delay: float = 0.0
    reading: int = 0

    def add_blob(self, data: bytes) -> Digest:
        digest = Digest.sha256(data)
        path = self.root / digest.hex
        path.write_bytes(data)
        self.blobs[digest] = Blob(path, len(data))
        return digest

    def add_manifest(
        self, data: bytes, tag: str = "", media_type: str = OCI_MANIFEST, *, stale: bool = False
    ) -> Digest:
        digest = Digest.sha256(data)
        self.manifests[digest] = ManifestView(digest, media_type, len(data)), data
        if tag:
            self.manifests[tag] = ManifestView(digest, media_type, len(data), stale), data
        return digest

    def upstream(self, host: str) -> str:
        if host not in ("", self.repository.host):
            raise NotFound(f"{host[:100]!r} is no registry of this node", hint="see images.upstreams")
        return self.repository.host

    async def manifest(self, pull: Pull, reference: str) -> ManifestView:
        await self._asked("manifest", pull, reference)
        if pull.repository != self.repository or reference not in self.manifests:
            raise NotFound(f"no manifest {reference} in {pull.repository}")
        return self.manifests[reference][0]

    async def manifest_bytes(self, pull: Pull, reference: str) -> tuple[ManifestView, bytes]:
        await self.manifest(pull, reference)
        return self.manifests[reference]

    async def blob(self, pull: Pull, digest: Digest) -> int:
        await self._asked("blob", pull, digest)
        if pull.repository != self.repository or digest not in self.blobs:
            raise NotFound(f"no blob {digest} in {pull.repository}")
        return self.blobs[digest].size

    @asynccontextmanager
    async def read(self, pull: Pull, digest: Digest, size: int) -> AsyncIterator[Reader]:
        await self._asked("read", pull, digest)
        assert size == self.blobs[digest].size
        self.reading += 1
        try:
            yield Reader(self.blobs[digest], self.delay)
        finally:
            self.reading -= 1

    async def passed(self, pull: Pull, path: str, query: Mapping[str, str]) -> Passed:
        await self._asked("passed", pull, path)
        self.queries.append(query)
        if path not in self.lists:
            raise NotFound(f"{pull.repository} has no {path}")
        return self.lists[path]

    async def _asked(self, what: str, pull: Pull, about: str) -> None:
        self.asked.append((what, pull, about))
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
