"""What the engine tells its callers. Values only; each face converts them to its own wire."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from cached.core.digest import Digest
from cached.core.errors import CachedError
from cached.core.progress import Progress
from cached.core.tree import TreeFile
from cached.swarm.messages import Survey


class State(Enum):
    """Where an artifact is on the way to this node's disk."""

    COLD = "cold"
    FETCHING = "fetching"
    WARM = "warm"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LeaseView:
    """A hold that expires: `expires_at` is Unix time, `ttl` seconds as granted."""

    id: str
    holder: str
    expires_at: float
    ttl: float


@dataclass(frozen=True, slots=True)
class Resolved:
    """A ref became a tree; `size` and `present` in bytes; `stale` when the source did not answer."""

    ref: str
    tree: Digest
    size: int
    file_count: int
    present: int
    stale: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """The tree stands at `path` for as long as `lease` lasts. ref: with the revision that it has now."""

    path: Path
    tree: Digest
    lease: LeaseView
    size: int
    file_count: int
    stale: bool
    sample_file: str
    ref: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The engine has taken a warm job on."""


@dataclass(frozen=True, slots=True)
class Unpacking:
    """All bytes of an image are here; the container runtime unpacks it."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """The tree is here; `fetched` counts the bytes that this job received.

    path: None for an image of which nothing had to be fetched.
    """

    path: Path | None
    tree: Digest
    size: int
    fetched: int


AcquireEvent = Resolved | Progress | Ready
WarmEvent = Accepted | Resolved | Progress | Unpacking | Warmed | CachedError


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """One model or image as this node knows it. Times are Unix time; None where there is none.

    in_runtime: of an image, whether the container runtime had it, unpacked, when last asked.
    """

    ref: str
    source: str
    state: State
    tree: Digest | None = None
    path: Path | None = None
    size: int = 0
    file_count: int = 0
    progress: Progress | None = None
    pinned: bool = False
    lease_count: int = 0
    last_use: float | None = None
    last_error: str = ""
    in_catalog: bool = False
    in_runtime: bool = False


@dataclass(frozen=True, slots=True)
class FileView:
    """One file of a tree, and whether its blob is complete here."""

    file: TreeFile
    present: bool


class PeerState(Enum):
    """Whether a member may be asked for chunks."""

    OK = "ok"
    ASIDE = "aside"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class PeerView:
    """Another member. until: seconds until it may be asked again, 0 when it may be now.

    received, sent: bytes from and to it since the daemon's start. failures: chunks that did not come.
    """

    address: str
    zone: str
    state: PeerState
    until: float = 0.0
    received: int = 0
    sent: int = 0
    failures: int = 0


@dataclass(frozen=True, slots=True)
class PeersView:
    """This node among the others. address: empty when it has no peers. source: where they are known from."""

    address: str
    data_address: str
    zone: str
    encrypted: bool
    source: str
    peers: tuple[PeerView, ...]


@dataclass(frozen=True, slots=True)
class SwarmView:
    """The swarm of a tree, as seen from this node; counts in chunks.

    coordinator: empty while none answers. neighbours: those this node exchanges with, and how many chunks
    each holds. survey: what the coordinator knows, if it said so.
    """

    coordinator: str
    chunks: int
    have: int
    neighbours: tuple[tuple[str, int], ...]
    survey: Survey | None = None


@dataclass(frozen=True, slots=True)
class DescribeView:
    """All about one model."""

    artifact: ArtifactView
    files: tuple[FileView, ...]
    leases: tuple[LeaseView, ...]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    swarm: SwarmView | None = None


@dataclass(frozen=True, slots=True)
class SpaceView:
    """Bytes of the store and of the filesystem beneath it; see SpaceView's twin `Space` in the proto."""

    capacity: int
    used: int
    reserved: int
    held: int
    filesystem_free: int
    min_free: int


@dataclass(frozen=True, slots=True)
class CatalogView:
    """The catalog in force; `error` says why the file as it stands now was refused."""

    path: str
    model_count: int
    loaded_at: float | None
    error: str


@dataclass(frozen=True, slots=True)
class ScrubView:
    """What the background scrub did since the daemon started."""

    blob_count: int
    corrupt_count: int
    last_round: float | None


@dataclass(frozen=True, slots=True)
class StatusView:
    """How the daemon is. `warnings` are sentences for an operator; empty when all is well."""

    version: str
    started_at: float
    root: Path
    draining: bool
    space: SpaceView
    flight_count: int
    lease_count: int
    blob_count: int
    tree_count: int
    catalog: CatalogView
    scrub: ScrubView
    warnings: tuple[str, ...]


class GateState(Enum):
    """Whether a node is open to pods, and by what."""

    CLOSED = "closed"
    OPEN_WARM = "warm"
    OPEN_DEADLINE = "deadline"


@dataclass(frozen=True, slots=True)
class SourceView:
    """What a source of the catalog said. uri: of an image, its ref. refs: what comes from there.

    error: why it cannot be read; None when it can.
    """

    uri: str
    refs: tuple[str, ...]
    error: CachedError | None = None


@dataclass(frozen=True, slots=True)
class GateView:
    """This node's gate, as the node's object says it.

    opens_in: seconds after which it opens whatever is warm; None once it is open. trouble: why the object is
    not as it should be; empty when it is.
    """

    node: str
    state: GateState
    opens_in: float | None
    trouble: str


@dataclass(frozen=True, slots=True)
class ReadinessView:
    """Whether what is to be warm from the start is warm. serving: whether the daemon does.

    wanted: how many models and images that are; None while no catalog is in force. missing: those that are
    not, or of which this run has not made sure yet, by ref. gate: None where there is none.
    """

    serving: bool
    wanted: int | None
    missing: tuple[ArtifactView, ...] = ()
    gate: GateView | None = None

    @property
    def ready(self) -> bool:
        return self.serving and self.wanted is not None and not self.missing


@dataclass(frozen=True, slots=True)
class CorruptBlob:
    """A blob whose bytes on disk were wrong, and the refs that are cold now because of it."""

    blob: Digest
    refs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifyEvent:
    """How far a verification has come, in bytes; `corrupt` lists what was found since the last event."""

    done: int
    total: int
    corrupt: tuple[CorruptBlob, ...] = ()
    finished: bool = False
