"""What the state machines want done. A driver does it, in the order given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from cached.swarm.bits import Bits
from cached.swarm.messages import FromCoordinator, FromParticipant, Holding


class Failure(Enum):
    """Why a chunk did not come."""

    VERIFY = "verify"  # came whole, and its BLAKE3 is another
    STALL = "stall"  # too slow, or no bytes for too long
    GONE = "gone"  # connection refused or broken
    MISSING = "missing"  # the member does not hold it after all
    FULL = "full"  # the member serves as many as it may
    SOURCE = "source"  # the source answered with an error that a retry may mend
    LOCAL = "local"  # this node's own disk or memory; nobody else is to blame


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get `chunk` from `member`, or from the source when None, within `seconds`.

    Answer with `received` or `failed`, unless a Cancel for the same pair came. rate: bytes/s allowed, 0
    without limit.
    """

    chunk: int
    member: str | None
    seconds: float
    rate: float = 0.0


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop that Fetch; an answer that is already on its way may still be given."""

    chunk: int
    member: str | None


@dataclass(frozen=True, slots=True)
class SendCoordinator:
    """Send on the stream to the coordinator chosen last; drop it when there is none."""

    message: FromParticipant


@dataclass(frozen=True, slots=True)
class TellHashes:
    """Look up the hashes of `chunks`, which are here, and send them to the coordinator in a Have."""

    chunks: Bits


@dataclass(frozen=True, slots=True)
class SendNeighbour:
    """Send on the stream with `member`, whoever opened it; drop it when there is none."""

    member: str
    message: Holding


@dataclass(frozen=True, slots=True)
class ChooseCoordinator:
    """Close the stream to the last coordinator, open one to `member`; `coordinator_lost` if it fails."""

    member: str


@dataclass(frozen=True, slots=True)
class Knock:
    """See whether `member`, which did not answer before, does now; `answered` if so, nothing if not."""

    member: str


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a stream to the neighbour; then `connected`, or `disconnected` if it fails or ends."""

    member: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the stream with `member`; no `disconnected` is needed."""

    member: str


@dataclass(frozen=True, slots=True)
class Ban:
    """`member` lied; it is asked for nothing for `seconds`. For logs, metrics and the data server."""

    member: str
    seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class FetchAllYourself:
    """No coordinator answers: from now on Fetch from the source comes without grants. For logs, metrics."""

    why: str


@dataclass(frozen=True, slots=True)
class Complete:
    """All chunks are here. The participant goes on serving and announcing until `leave`.

    Comes again when chunks that were spoiled are here again.
    """


Action: TypeAlias = (
    Fetch
    | Cancel
    | SendCoordinator
    | TellHashes
    | SendNeighbour
    | ChooseCoordinator
    | Knock
    | Connect
    | Disconnect
    | Ban
    | FetchAllYourself
    | Complete
)


@dataclass(frozen=True, slots=True)
class Send:
    """A coordinator's only action: `message` on the stream of `member`. After Refused, close the stream."""

    member: str
    message: FromCoordinator
