"""A tree: the content of one model revision."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from cached.core.digest import Digest
from cached.core.errors import InvalidRequest
from cached.core.names import check_path, check_paths_together


@dataclass(frozen=True, slots=True)
class TreeFile:
    """One file of a tree: where it stands, its size in bytes, and the blob that it is."""

    path: str
    size: int
    blob: Digest


@dataclass(frozen=True)
class Tree:
    """A canonical list of path to blob. Equal content has equal digests; a tree never changes."""

    files: tuple[TreeFile, ...]

    @classmethod
    def of(cls, files: Iterable[TreeFile]) -> Tree:
        """Sort, check and freeze. Raises InvalidRequest for hostile or clashing paths, no files, or a blob
        of two sizes."""
        given = list(files)
        if not given:
            raise InvalidRequest("a tree needs at least one file")
        sizes: dict[Digest, int] = {}
        for file in given:
            check_path(file.path)
            if sizes.setdefault(file.blob, file.size) != file.size:
                raise InvalidRequest(f"file {file.path!r}: {file.blob} is said to have two sizes")
        check_paths_together(file.path for file in given)
        return cls(tuple(sorted(given, key=lambda file: file.path.encode())))

    @cached_property
    def digest(self) -> Digest:
        return Digest.sha256(self.encoded)

    @cached_property
    def size(self) -> int:
        """Bytes of all files, each as often as it stands in the tree."""
        return sum(file.size for file in self.files)

    @cached_property
    def blobs(self) -> dict[Digest, int]:
        """Each blob once, with its size in bytes."""
        return {file.blob: file.size for file in self.files}

    @cached_property
    def encoded(self) -> bytes:
        """The canonical form: JSON, sorted by path, no white space. Its SHA-256 names the tree."""
        rows = [[file.path, file.size, file.blob] for file in self.files]
        return json.dumps(rows, separators=(",", ":"), ensure_ascii=True).encode()

    @classmethod
    def decode(cls, encoded: bytes) -> Tree:
        return cls(tuple(TreeFile(path, size, Digest(blob)) for path, size, blob in json.loads(encoded)))
