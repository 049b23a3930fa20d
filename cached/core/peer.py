"""Who else runs a daemon, and what it may read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cached.core.digest import Digest


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """Another node's daemon, or this one: `address` is `host:port` of its peer endpoint, and its name.

    `zone` is where it stands, "" when nobody said.
    """

    address: str
    zone: str = ""


class Shelf(Protocol):
    """What other members may read. Thread-safe, and never waits for the event loop."""

    def open(self, blob: Digest, offset: int, length: int) -> int | None:
        """A descriptor that reads these bytes, all verified, at their place in the blob; close it.

        None when they are not here (yet), or not for others.
        """
        ...

    def size(self, blob: Digest) -> int | None:
        """Bytes of the whole blob, complete here or not; None when it is not here, or not for others."""
        ...

    def busy(self, load: int) -> None:
        """Uploads under way and waiting, now."""
        ...
