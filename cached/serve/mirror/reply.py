"""What is answered to a puller, before any of it is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cached.core.digest import Digest
from cached.engine.images.views import BlobReader, Piece
from cached.serve.mirror.ranges import Span
from cached.serve.mirror.refusal import Refusal

JSON: Final = "application/json"
OWN: Final = {"Docker-Distribution-API-Version": "registry/2.0", "Server": "cached"}
"""Headers of every answer."""
_PLAIN: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(slots=True)
class Body:
    """Bytes of a blob that are to be sent, `span` of them; the first may be here already."""

    blob: Digest
    span: Span
    reader: BlobReader
    first: Piece | None

    def take_first(self) -> Piece | None:
        """Its descriptor is the caller's from now on."""
        first, self.first = self.first, None
        return first

    def close(self) -> None:
        if (first := self.take_first()) is not None:
            os.close(first.fd)


@dataclass(frozen=True, slots=True)
class Reply:
    """body: the bytes of a blob, or all that is sent. To a HEAD none of them go out."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body = b""

    @classmethod
    def of(cls, refused: Refusal) -> Reply:
        return cls(refused.status, {"Content-Type": JSON, **refused.headers}, refused.body)

    @property
    def can_be_sent(self) -> bool:
        """Whether no header would be something else on the wire: some come from registries."""
        return all(map(_PLAIN.fullmatch, self.headers.values()))
