"""URIs of S3."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from cached.core.errors import InvalidRequest

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}\Z")
_MAX_KEY = 1024


@dataclass(frozen=True, slots=True)
class S3Uri:
    """`s3://bucket/key`, the key as S3 has it: nothing in it is escaped or special. It may be empty."""

    bucket: str
    key: str = ""

    @classmethod
    def parse(cls, text: str) -> S3Uri:
        """Raises InvalidRequest for what no object can be named, or what a server might read as another."""
        bucket, _, key = text.removeprefix("s3://").partition("/")
        if not text.startswith("s3://") or not _BUCKET.match(bucket):
            problem = "names no bucket"
        elif any(unicodedata.category(character) in ("Cc", "Cs") for character in key):
            problem = "has a control character or is not valid UTF-8"
        elif any(part in (".", "..") for part in key.split("/")):
            problem = "has a '.' or '..' component"
        elif len(key.encode()) > _MAX_KEY:
            problem = f"has a key over {_MAX_KEY} bytes"
        else:
            return cls(bucket, key)
        raise InvalidRequest(f"{text[:200]!r} {problem}", hint="write s3://bucket/prefix")

    @property
    def prefix(self) -> str:
        """What the keys below this URI begin with."""
        return f"{self.key}/" if self.key and not self.key.endswith("/") else self.key

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
