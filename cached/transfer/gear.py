"""What all fetches of one Transfer share."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar, TypeVarTuple

from cached.core.clock import Clock
from cached.kit.pool import Pool
from cached.kit.proxies import Proxies
from cached.telemetry.metrics import Metrics
from cached.transfer.buffers import BufferPool, PooledBuffer
from cached.transfer.connections import Connections
from cached.transfer.gate import Gate
from cached.transfer.linger import Linger
from cached.transfer.options import TransferOptions
from cached.transfer.together import ended
from cached.transfer.turns import Line

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Cuttable(Protocol):
    """Something that blocks a thread, and can be told from another to stop."""

    def cut(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Gear:
    """Bounded means: turns, threads, buffers and connections. Belongs to one event loop."""

    options: TransferOptions
    metrics: Metrics
    clock: Clock
    rng: random.Random
    gate: Gate
    pool: Pool
    buffers: BufferPool
    connections: Connections
    proxies: Proxies
    linger: Linger

    @asynccontextmanager
    async def turn(self, line: Line, length: int, host: str) -> AsyncIterator[PooledBuffer]:
        """Wait for a turn to read `length` bytes from `host`; hold it, and a buffer, while the block runs."""
        async with self.gate.turn(line, length, host):
            buffer = self.buffers.take(length)
            try:
                with self.linger.use():
                    yield buffer
            finally:
                buffer.release()

    def longest(self, length: int, rate: float = 0.0) -> float:
        """Seconds that `length` bytes may take: at the slowest pace allowed, and held back to `rate`."""
        slowest = length / max(1, self.options.min_rate)
        return 2 * self.options.stall_timeout + slowest + (length / rate if rate else 0.0)

    def arrived(self, origin: str, length: int, began: float) -> None:
        """Tell metrics of a chunk that is in its sink and was asked for at `began`."""
        self.metrics.received.labels(origin).inc(length)
        self.metrics.chunk_seconds.labels(origin).observe(self.clock.monotonic() - began)

    async def run(self, thing: Cuttable, seconds: float, work: Callable[[*Ts], T], *args: *Ts) -> T:
        """Run `work`, which blocks on `thing` to receive, as `call` does.

        `thing` is cut when cancelled, and after `seconds`. That ends a receive, and no write to a sink.
        """
        timer = asyncio.get_running_loop().call_later(seconds, thing.cut)
        try:
            return await self.call(work, *args, on_cancel=thing.cut)
        finally:
            timer.cancel()

    async def call(
        self, work: Callable[[*Ts], T], *args: *Ts, on_cancel: Callable[[], None] | None = None
    ) -> T:
        """Run `work` in a thread. Cancelled, it returns when the thread has ended all the same.

        So nothing is used behind the caller's back.
        """
        running = asyncio.wrap_future(self.pool.executor.submit(work, *args))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await ended([running])
            raise
