"""Moving bytes from where they are read into sinks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Final

from cached.core.clock import Clock
from cached.core.sink import ChunkSink
from cached.kit.pool import Pool
from cached.telemetry.metrics import Metrics
from cached.transfer.address import Proxies
from cached.transfer.bucket import Bucket
from cached.transfer.buffers import BufferPool
from cached.transfer.connections import Connections
from cached.transfer.fetch import Fetch
from cached.transfer.gate import Gate
from cached.transfer.gear import Gear
from cached.transfer.opened import Opener
from cached.transfer.options import UNLIMITED, SourceLimits, TransferOptions
from cached.transfer.turns import Group, Turns

__all__ = ["SourceLimits", "Transfer", "TransferOptions"]

_LINGER: Final = 30.0  # seconds without a fetch after which connections and memory are given back


class Transfer:
    """Executes the range requests of all sources, in bounded memory, threads and connections.

    Belongs to one event loop. Proxies are those of the environment at the time it is made.
    """

    def __init__(self, options: TransferOptions, metrics: Metrics, clock: Clock, rng: random.Random) -> None:
        self._gear = Gear(
            options,
            metrics,
            clock,
            rng,
            gate=Gate(Turns(options.connections, options.bandwidth), clock),
            # One beside those that receive, for short calls to sinks.
            pool=Pool("transfer", options.connections + 1),
            buffers=BufferPool(options.connections, options.spare_buffers),
            connections=Connections(options, clock),
            proxies=Proxies.from_environment(),
        )
        self._groups: dict[str, Group] = {}
        self._fetches = 0
        self._trimmer: asyncio.TimerHandle | None = None

    async def fetch(
        self,
        sink: ChunkSink,
        opener: Opener,
        *,
        origin: str,
        label: str,
        on_bytes: Callable[[int], None],
        limits: SourceLimits = UNLIMITED,
    ) -> None:
        """Fill `sink` with the chunks that it misses, and return when it has them all.

        `opener` says how to read ranges, and is asked again when that expires. `origin` is a source's scheme
        or `peer`: metrics are told it, and fetches of one origin share `limits`. `label` is what errors call
        the file, without any credential. `on_bytes` is called on the loop with the length of each chunk
        that is in the sink.

        Raises NotFound, Denied, SourceChanged (the file is not the pinned one any more), NotConfigured, or
        SourceUnavailable once nothing has come for `give_up_after`; what the opener raises; NoSpace or
        DiskFault of the sink. One fetch's error is no other's. Ended, failed or cancelled, the sink is not
        used any more, and buffers and connections are back; a cancel waits for a write that has begun,
        and for no network.
        """
        group = self._groups.setdefault(origin, Group(limits.connections, Bucket(limits.bandwidth)))
        group.connections, group.bucket.rate = limits.connections, limits.bandwidth
        self._fetches += 1
        try:
            await Fetch(self._gear, group, sink, opener, origin, label, on_bytes).run()
        finally:
            self._fetches -= 1
            self._trim_later()

    async def close(self) -> None:
        """Give everything back. No fetch may be running."""
        if self._trimmer is not None:
            self._trimmer.cancel()
        self._gear.pool.close()
        self._gear.connections.close()
        self._gear.buffers.trim()

    def _trim_later(self) -> None:
        if self._trimmer is not None:
            self._trimmer.cancel()
        self._trimmer = asyncio.get_running_loop().call_later(_LINGER, self._trim)

    def _trim(self) -> None:
        if not self._fetches:
            self._gear.connections.trim()
            self._gear.buffers.trim()
