"""What the nodes of a swarm tell each other. Values only; the wire mirrors them one to one.

A member is named by its address, `host:port`, which the connection's certificate vouches for. Times are
in seconds and relative, since nodes share no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.bits import Bits

VERSION: Final = 1
"""A coordinator refuses any other; the refused node does without it."""

Hash: TypeAlias = bytes
"""BLAKE3 of one chunk, 32 bytes."""


# Participant to coordinator.


@dataclass(frozen=True, slots=True)
class Hello:
    """First on every stream to a coordinator, and all that it needs to begin from nothing.

    chunk_count, size: of the tree, in chunks and in bytes; the coordinator may never have seen the tree.
    data_address: `host:port` where ranges of blobs are served. have: chunks verified here. reading: chunks
    being read from the source under a grant of an earlier coordinator. wants: whether the rest is wanted.
    moved: this member had another coordinator before, so others will come, too. neighbours: whom it exchanges
    chunks with now, so that a new coordinator can leave it at that.
    """

    version: int
    tree: Digest
    chunk_count: int
    size: int
    member: Member
    data_address: str
    have: Bits
    reading: Bits = 0
    wants: bool = True
    moved: bool = False
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Have:
    """More chunks are verified here; `hashes` for those read from the source, and when asked for them."""

    chunks: Bits
    hashes: Mapping[int, Hash] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ask:
    """May hold grants for `ready` chunks at a time; stands until the next Ask.

    behind: neighbours are slow, so grants are welcome even for chunks that others hold, to try the source.
    proven: it was tried, and helped.
    """

    ready: int
    behind: bool = False
    proven: bool = False


@dataclass(frozen=True, slots=True)
class GaveUp:
    """These grants will not be fulfilled."""

    chunks: Bits
    reason: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """No neighbour can give these chunks for some time now. `avoid`: members that failed or lied lately."""

    chunks: Bits
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Throttled:
    """The source told this node to stay away for `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Bye:
    """Leaves the swarm and serves no more of it."""


FromParticipant: TypeAlias = Hello | Have | Ask | GaveUp | Stuck | Throttled | Bye


# Coordinator to participant.


@dataclass(frozen=True, slots=True)
class NeighbourInfo:
    """A member to exchange chunks with; `complete` when it holds the whole tree."""

    member: Member
    data_address: str
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to Hello. report_seconds: how long Have may wait for more, but for what the source gave.

    `hashes` may be only some; others follow in Hashes.
    """

    version: int
    report_seconds: float
    hashes: Mapping[int, Hash]
    neighbours: tuple[NeighbourInfo, ...]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """All neighbours from now on; those not named are none any more."""

    neighbours: tuple[NeighbourInfo, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """Read these chunks from the source within `lease` seconds, at most at `rate` bytes/s (0: no limit)."""

    chunks: Bits
    lease: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Hashes:
    """What chunks must hash to; now and then empty, to say that the swarm is at work."""

    hashes: Mapping[int, Hash]


@dataclass(frozen=True, slots=True)
class WantHashes:
    """Tell the hashes of these chunks, which you hold, in a Have."""

    chunks: Bits


@dataclass(frozen=True, slots=True)
class Pause:
    """Begin no read from the source for `seconds`: somebody was throttled."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refused:
    """No place in this swarm; the stream ends."""

    reason: str


FromCoordinator: TypeAlias = Welcome | Neighbours | Grant | Hashes | WantHashes | Pause | Refused


# Anybody to a coordinator, for operators.


@dataclass(frozen=True, slots=True)
class Survey:
    """What a coordinator knows of its swarm.

    complete: members that hold all; held: chunks that at least one member holds; granted: chunks being read
    from the source; reads: those read so far, under grants of this coordinator. holders: some of those that
    hold all, by address.
    """

    members: int
    complete: int
    chunks: int
    held: int
    granted: int
    reads: int
    holders: tuple[str, ...] = ()


# Participant to participant.


@dataclass(frozen=True, slots=True)
class Holding:
    """First all chunks verified here, then what was added since. load: uploads under way and waiting."""

    chunks: Bits
    load: int = 0
