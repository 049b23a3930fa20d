"""Chunks from other members' data servers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from cached.core.chunks import chunk_span
from cached.core.digest import Digest
from cached.core.errors import SourceChanged, SourceUnavailable
from cached.core.sink import ChunkSink
from cached.kit.bucket import Bucket
from cached.kit.proxies import Proxies
from cached.transfer.address import Call, call_to
from cached.transfer.answer import Answer, Verdict, Wanted, judge
from cached.transfer.connections import Connections, Untrusted
from cached.transfer.exchange import converse
from cached.transfer.gear import Gear
from cached.transfer.options import SourceLimits
from cached.transfer.part import Mismatch, Part, get_range
from cached.transfer.retry import Failed
from cached.transfer.trust import Trust
from cached.transfer.turns import Group, Line

ORIGIN: Final = "peer"

_KEPT: Final = 64  # idle connections: two to each of 32 neighbours, so that hardly a chunk needs a handshake
_PATIENCE: Final = 5.0  # seconds without a byte, at most
_MEANING: Final = {404: "missing", 416: "missing", 503: "full"}
_TOO_SLOW: Final = frozenset({"stall", "slow"})


class PeerFailed(Exception):
    """A chunk did not come from a peer, and nothing was written.

    kind: verify (it came whole, and is another), stall (too slow, or nothing for too long), gone (not
    reached, broken off, not trusted, or no proper answer), missing (not there) or full (busy enough). The
    text says more, for logs.
    """

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Peers:
    """Reads chunks from peers, in turns with what is read from sources. Belongs to one event loop.

    It has its own connections, and none goes through a proxy. `trust` of None means plaintext.
    """

    def __init__(self, gear: Gear, trust: Trust | None, limits: SourceLimits) -> None:
        options = replace(
            gear.options,
            connect_timeout=min(_PATIENCE, gear.options.connect_timeout),
            stall_timeout=min(_PATIENCE, gear.options.stall_timeout),
            min_rate=0,  # each chunk has its own time
            ca_files={},
        )
        connections = Connections(options, gear.clock, trust, keep=_KEPT)
        self._gear = replace(gear, options=options, connections=connections, proxies=Proxies({}))
        self._scheme = "https" if trust else "http"
        self._line = Line(Group(limits.connections, Bucket(limits.bandwidth), metered=False))

    async def chunk(
        self, sink: ChunkSink, index: int, address: str, blob: Digest, blake3: bytes, *, seconds: float
    ) -> None:
        """See `Transfer.peer_chunk`."""
        try:
            await self._attempt(sink, index, address, blob, blake3, seconds)
        except PeerFailed as failure:
            self._gear.metrics.peer_failures.labels(failure.kind).inc()
            raise

    def trim(self) -> None:
        """Close what is idle."""
        self._gear.connections.trim()

    def close(self) -> None:
        self._gear.connections.close()

    async def _attempt(
        self, sink: ChunkSink, index: int, address: str, blob: Digest, blake3: bytes, seconds: float
    ) -> None:
        gear = self._gear
        offset, length = chunk_span(index, sink.size, sink.chunk_size)
        wanted = Wanted(address, offset, length, sink.size)
        call = self._call(address, blob)
        async with gear.turn(self._line, length, address) as buffer:
            began = gear.clock.monotonic()
            part = Part(sink, index, buffer, expected=blake3)
            get = partial(get_range, wanted=wanted, part=part, clock=gear.clock, judged=judge_peer)
            try:
                channel, _ = await converse(gear, call, seconds, get)
            except Mismatch:
                raise PeerFailed("verify", f"{address} sent other bytes: their BLAKE3 is another") from None
            except Failed as failure:
                kind = "stall" if failure.kind in _TOO_SLOW else "gone"
                raise PeerFailed(kind, f"{address}: {failure.reason}") from None
            except Untrusted as error:
                raise PeerFailed("gone", str(error)) from None
            gear.connections.give(channel)
        gear.arrived(ORIGIN, length, began)

    def _call(self, address: str, blob: Digest) -> Call:
        target = f"/v1/blobs/{blob.algorithm}/{blob.hex}"
        try:
            return call_to(f"{self._scheme}://{address}{target}", {}, self._gear.proxies)
        except ValueError:
            raise PeerFailed("gone", f"{address[:100]!r} is not host:port") from None


def judge_peer(answer: Answer, wanted: Wanted, now: float) -> Verdict:
    """As `judge`, of a data server: it sends the range, or it is of no use now. Pure.

    Raises PeerFailed for all but Take.
    """
    if answer.status != 206:
        kind = _MEANING.get(answer.status, "gone")
        raise PeerFailed(kind, f"{wanted.label} answered {answer.status}")
    try:
        return judge(answer, wanted, now)
    except Failed as failure:
        raise PeerFailed("gone", f"{wanted.label}: {failure.reason}") from None
    except (SourceChanged, SourceUnavailable) as error:
        raise PeerFailed("gone", error.message) from None
