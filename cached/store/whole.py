"""The check of a blob as a whole, against what its name or its source promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from cached.core.sink import Buffer

Reread = Callable[[int], Iterator[memoryview]]
"""Gives the bytes of a chunk again, from disk, piece by piece. Raises DiskFault."""


class WholeCheck(Protocol):
    """Takes each chunk once, in any order and from several threads, while its bytes are still in memory."""

    def offer(self, index: int, buffer: Buffer) -> None:
        """Take note of chunk `index`, which is on disk. Raises DiskFault if a read was due and failed."""
        ...

    def finish(self) -> str:
        """What the whole blob comes to, as `kind:hex`. Reads from disk whatever was not taken note of.

        Called once, when no `offer` is running and all chunks are on disk. Raises DiskFault.
        """
        ...

    def close(self) -> None:
        """Let go of every buffer; no `offer` may be running. Idempotent."""
        ...
