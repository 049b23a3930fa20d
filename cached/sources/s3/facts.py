"""What S3 says of one object."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cached.core.digest import SHA256, Digest
from cached.core.errors import SourceUnavailable
from cached.core.source import CrcKind, SourceFile
from cached.sources.s3.uri import S3Uri

_OF_PARTS = re.compile(r"-\d+\"?\Z")
_CRCS = (
    ("ChecksumCRC64NVME", CrcKind.CRC64NVME, 8),
    ("ChecksumCRC32C", CrcKind.CRC32C, 4),
    ("ChecksumCRC32", CrcKind.CRC32, 4),
)


@dataclass(frozen=True, slots=True)
class Facts:
    """Size in bytes, ETag with its quotes, version id or "", and checksums of the whole object, if stated.

    What uploaders write into the object's metadata is not among them: S3 never checked it.
    """

    size: int
    etag: str
    version: str
    sha256: Digest | None = None
    crc: tuple[CrcKind, int] | None = None

    @classmethod
    def of_head(cls, uri: S3Uri, answer: Mapping[str, Any]) -> Facts:
        """Read the answer to HeadObject. Raises SourceUnavailable when it does not pin the object."""
        size, etag = answer.get("ContentLength"), strong(answer.get("ETag", ""))
        if not isinstance(size, int) or size < 0 or not etag:
            raise SourceUnavailable(f"{uri} has no ETag or no size", hint="is the endpoint an S3 server?")
        version = str(answer.get("VersionId", ""))
        version = "" if version == "null" else version
        if not _whole(answer):
            return cls(size, etag, version)
        if sha256 := _decoded(answer.get("ChecksumSHA256"), 32):
            return cls(size, etag, version, sha256=Digest(f"{SHA256}:{sha256.hex()}"))
        for name, kind, width in _CRCS:
            if crc := _decoded(answer.get(name), width):
                return cls(size, etag, version, crc=(kind, int.from_bytes(crc, "big")))
        return cls(size, etag, version)

    @property
    def pin(self) -> str:
        """Version id and ETag, or the ETag alone; `split_pin` takes them apart."""
        return f"{self.version} {self.etag}" if self.version else self.etag

    def file(self, uri: S3Uri, path: str) -> SourceFile:
        """The object as a file of a tree."""
        blob = self.sha256 or Digest.of_origin(str(uri), self.pin, self.size)
        return SourceFile(path, self.size, str(uri), self.pin, blob, self.crc)


def strong(etag: str) -> str:
    """The ETag in the one form in which If-Match takes it, with quotes; "" for none."""
    bare = etag.removeprefix("W/").strip('"')
    return f'"{bare}"' if bare else ""


def split_pin(pin: str) -> tuple[str, str]:
    """Version id, or "", and ETag."""
    start = pin.find('"')
    return pin[:start].rstrip(), pin[start:]


def _whole(answer: Mapping[str, Any]) -> bool:
    """Whether the checksums are of the object's bytes, not of the checksums of its parts.

    Servers that do not say are believed only where there can have been no parts.
    """
    kind = answer.get("ChecksumType")
    return kind == "FULL_OBJECT" if kind else not _OF_PARTS.search(str(answer.get("ETag", "")))


def _decoded(checksum: object, width: int) -> bytes | None:
    """The bytes of a checksum in base64; None when there is none, or one of another form."""
    if not isinstance(checksum, str):
        return None
    try:
        raw = base64.b64decode(checksum, validate=True)
    except binascii.Error:
        return None
    return raw if len(raw) == width else None
