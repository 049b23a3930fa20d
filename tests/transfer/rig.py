"""What the transfer tests share: a sink in memory, something to fetch, and how to fetch it."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from blake3 import blake3

from cached.core.chunks import chunk_count, chunk_span
from cached.core.sink import Buffer
from cached.core.source import RangeRequest
from cached.kit.clock import SystemClock
from cached.telemetry.metrics import Metrics
from cached.transfer.options import UNLIMITED
from cached.transfer.transfer import SourceLimits, Transfer, TransferOptions

CHUNK = 1 << 16
QUICK = TransferOptions(
    connections=4,
    spare_buffers=2,
    connect_timeout=1.0,
    stall_timeout=0.5,
    min_rate=1 << 14,
    give_up_after=5.0,
)


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class MemorySink:
    """Implements `cached.core.sink.ChunkSink` in memory, and notices what a sink must not see."""

    def __init__(self, size: int, chunk_size: int = CHUNK, have: Sequence[int] = ()) -> None:
        self.size = size
        self.chunk_size = chunk_size
        self.data = bytearray(size)
        self.order: list[int] = []
        self.closed = False
        self.before: Callable[[int], None] = lambda index: None
        self._have = set(have)
        self._lock = threading.Lock()

    def missing(self) -> Sequence[int]:
        with self._lock:
            return [i for i in range(chunk_count(self.size, self.chunk_size)) if i not in self._have]

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        self.before(index)
        offset, length = chunk_span(index, self.size, self.chunk_size)
        chunk = bytes(buffer.view)
        with self._lock:
            assert not self.closed, "the sink was used after its fetch had ended"
            assert index not in self._have, "a chunk came twice"
            assert len(chunk) == length
            assert blake3 == _digest(chunk)
            self.data[offset : offset + length] = chunk
            self.order.append(index)
            self._have.add(index)


def _digest(chunk: bytes) -> bytes:
    return blake3(chunk).digest()


class Rig:
    """A Transfer, and what it told."""

    def __init__(self, options: TransferOptions) -> None:
        self.options = options
        self.metrics = Metrics()
        self.transfer = Transfer(options, self.metrics, SystemClock(), random.Random(1))
        self.received = 0

    async def fetch(
        self,
        sink: MemorySink,
        request: RangeRequest | Callable[[], RangeRequest],
        *,
        limits: SourceLimits = UNLIMITED,
    ) -> None:
        async def opener() -> RangeRequest:
            return request if isinstance(request, RangeRequest) else request()

        try:
            await self.transfer.fetch(
                sink, opener, origin="s3", label="s3://b/m.bin", on_bytes=self._count, limits=limits
            )
        finally:
            sink.closed = True

    def _count(self, count: int) -> None:
        self.received += count

    def errors(self) -> dict[str, float]:
        """Errors counted so far, by kind."""
        return {
            sample.labels["error"]: sample.value
            for family in self.metrics.source_errors.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }

    def check_idle(self) -> None:
        """Nothing is out: no buffer, no turn, no thread at work."""
        gear = self.transfer._gear
        assert gear.buffers.taken == 0
        assert gear.gate._turns._running == 0
        assert not gear.gate._waiting
        assert not gear.gate._turns._lines
        assert gear.pool.executor._work_queue.empty()


@asynccontextmanager
async def rigged(options: TransferOptions = QUICK) -> AsyncIterator[Rig]:
    """A rig whose means must all be back at the end."""
    rig = Rig(options)
    try:
        yield rig
        await asyncio.sleep(0)
        rig.check_idle()
    finally:
        await rig.transfer.close()
