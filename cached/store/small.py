"""Blobs whose bytes are at hand."""

from __future__ import annotations

from blake3 import blake3

from cached.core.sink import ChunkSink
from cached.store.aligned import allocate, round_up


class InMemory:
    """Implements `cached.core.sink.Buffer` for bytes that came from nowhere."""

    def __init__(self, data: bytes) -> None:
        self.block = allocate(round_up(len(data)))
        self.view = self.block[: len(data)]
        self.view[:] = data

    def try_retain(self) -> bool:
        return False

    def release(self) -> None:
        """Nobody retained it."""


def put_whole(sink: ChunkSink, data: bytes) -> None:
    """Fill a sink of one chunk with `data`. Raises NoSpace, DiskFault."""
    if len(sink.missing()) > 1:
        raise ValueError(f"{len(data)} bytes are more than one chunk")
    for index in sink.missing():
        sink.put(index, InMemory(data), blake3(data).digest())
