"""Moving bytes from where they are read into sinks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.sink import ChunkSink
from cached.kit.bucket import Bucket
from cached.kit.pool import Pool
from cached.kit.proxies import Proxies
from cached.telemetry.metrics import Metrics
from cached.transfer.buffers import BufferPool
from cached.transfer.connections import Connections
from cached.transfer.fetch import Fetch
from cached.transfer.gate import Gate
from cached.transfer.gear import Gear
from cached.transfer.linger import Linger
from cached.transfer.opened import Opener
from cached.transfer.options import UNLIMITED, SourceLimits, TransferOptions
from cached.transfer.peer import PeerFailed, Peers
from cached.transfer.retry import Failed
from cached.transfer.single import NoRanges, Single
from cached.transfer.trust import CaTrust, Trust
from cached.transfer.turns import Group, Turns

__all__ = [
    "Failed",
    "NoRanges",
    "PeerFailed",
    "Single",
    "SourceLimits",
    "Transfer",
    "TransferOptions",
    "Trust",
]

_LINGER: Final = 30.0  # seconds without a chunk after which connections and memory are given back


class Transfer:
    """Executes the range requests to all sources and peers, in bounded memory, threads and connections.

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
            connections=Connections(options, clock, CaTrust(options.ca_file), keep=options.connections),
            proxies=Proxies.from_environment(),
            linger=Linger(_LINGER, self._trim),
        )
        self._groups: dict[str, Group] = {}
        self._peers: Peers | None = None

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

        `opener` says how to read ranges, and is asked again when that expires. `origin` is a source's scheme:
        metrics are told it, and all that is read from one origin shares `limits`. `label` is what errors call
        the file, without any credential. `on_bytes` is called on the loop with the length of each chunk
        that is in the sink.

        Raises NotFound, Denied, SourceChanged (the file is not the pinned one any more), NotConfigured, or
        SourceUnavailable once nothing has come for `give_up_after`; what the opener raises; NoSpace or
        DiskFault of the sink. One fetch's error is no other's. Ended, failed or cancelled, the sink is not
        used any more, and buffers and connections are back; a cancel waits for a write that has begun,
        and for no network.
        """
        single = self.single(sink, opener, origin=origin, label=label, limits=limits)
        await Fetch(single, on_bytes).run()

    def single(
        self,
        sink: ChunkSink,
        opener: Opener,
        *,
        origin: str,
        label: str,
        limits: SourceLimits = UNLIMITED,
    ) -> Single:
        """To put chunks into `sink` one by one, when and how often the caller says.

        The arguments are those of `fetch`, with whose chunks these take turns.
        """
        group = self._groups.setdefault(origin, Group(limits.connections, Bucket(limits.bandwidth)))
        group.connections, group.bucket.rate = limits.connections, limits.bandwidth
        return Single(self._gear, group, sink, opener, origin, label)

    def peers(self, trust: Trust | None, limits: SourceLimits = UNLIMITED) -> None:
        """How to speak to peers, said once: over TLS as `trust` says, or in plaintext when that is None.

        `limits` bound what comes from all peers together; the global bandwidth, that of sources, does not.
        """
        self._peers = Peers(self._gear, trust, limits)

    async def peer_chunk(
        self, sink: ChunkSink, index: int, address: str, blob: Digest, blake3: bytes, *, seconds: float
    ) -> None:
        """Put chunk `index` of `blob` into `sink` from the data server at `address`, in one attempt.

        It is written only if its BLAKE3 is `blake3`. `seconds` is how long connecting and receiving may take,
        and 5 without a byte are too long; waiting for a turn and writing are no part of that. Buffers and
        turns are those that sources use too.

        Raises PeerFailed, which metrics have been told, or NoSpace or DiskFault of the sink. Ended, failed or
        cancelled, this call does not use the sink any more, and means are back; a cancel waits for a
        write that has begun, whose chunk is in the sink then, and for no network.
        """
        if self._peers is None:
            raise RuntimeError("a chunk was asked of a peer before `peers` was called")
        await self._peers.chunk(sink, index, address, blob, blake3, seconds=seconds)

    async def close(self) -> None:
        """Give everything back. Nothing may be running."""
        self._gear.linger.stop()
        self._gear.pool.close()
        self._gear.connections.close()
        if self._peers is not None:
            self._peers.close()
        self._gear.buffers.trim()

    def _trim(self) -> None:
        self._gear.connections.trim()
        if self._peers is not None:
            self._peers.trim()
        self._gear.buffers.trim()
