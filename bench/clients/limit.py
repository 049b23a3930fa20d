"""No client: what the disk takes when nobody has to receive anything."""

from __future__ import annotations

from pathlib import Path

from bench.clients.client import Fetch, Span
from bench.disk import WriteShape, write_limit
from bench.origin import Offer, Origin


class DiskLimit:
    """Writes as many bytes as the model has, with O_DIRECT."""

    def __init__(self, shape: WriteShape) -> None:
        self._shape = shape

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        into.mkdir()
        span = Span()
        seconds = write_limit(into, sum(file.size for file in offer.files), self._shape)
        return Fetch(into, seconds, seconds, 0.0, 0, span.busy_cores)
