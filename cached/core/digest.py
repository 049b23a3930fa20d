"""Names of content."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final

from cached.core.errors import InvalidRequest

SHA256: Final = "sha256"
ORIGIN: Final = "origin"

_SHAPE = re.compile(r"(sha256|origin):[0-9a-f]{64}\Z")


class Digest(str):
    """The name of a blob or a tree: `algorithm:hex`, 64 hex digits.

    `sha256:…` names the bytes themselves. `origin:…` names what pins the bytes at their source (URI,
    version or ETag, size), for content whose digest nobody knows before it is read; see `Digest.of_origin`.
    Equal names mean equal bytes on every node.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Check and type a digest. Raises InvalidRequest for any other text."""
        digest = cls.read(text)
        if digest is None:
            raise InvalidRequest(f"not a digest: {text[:100]!r}", hint="write sha256: and 64 hex digits")
        return digest

    @classmethod
    def read(cls, text: str) -> Digest | None:
        """`text` as a digest, or None when it is none."""
        return cls(text) if _SHAPE.match(text) else None

    @classmethod
    def sha256(cls, data: bytes) -> Digest:
        return cls(f"{SHA256}:{hashlib.sha256(data).hexdigest()}")

    @classmethod
    def of_origin(cls, uri: str, pin: str, size: int) -> Digest:
        """Name bytes by what pins them at the source; `pin` is a version id, ETag or the like."""
        said = json.dumps([uri, pin, size], separators=(",", ":")).encode()
        return cls(f"{ORIGIN}:{hashlib.sha256(said).hexdigest()}")

    @property
    def algorithm(self) -> str:
        return self.partition(":")[0]

    @property
    def hex(self) -> str:
        return self.partition(":")[2]

    @property
    def short(self) -> str:
        """Twelve hex digits, for people."""
        return self.hex[:12]

    @property
    def names_content(self) -> bool:
        """Whether the bytes themselves can be checked against this name."""
        return self.algorithm == SHA256
