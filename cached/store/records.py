"""The values that the accounting side keeps and tells."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from cached.core.digest import Digest
from cached.core.tree import Tree


@dataclass(frozen=True, slots=True)
class BlobRecord:
    """A complete blob: size and chunk size in bytes, `hashes` the BLAKE3 of its chunks, 32 bytes each.

    mtime_ns: when its file was last written; a later one means that somebody else wrote to it.
    """

    blob: Digest
    size: int
    chunk_size: int
    hashes: bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class RefRecord:
    """What a ref last resolved to, from which source, and when (Unix time)."""

    tree: Digest
    source: str
    resolved_at: float


@dataclass(frozen=True, slots=True)
class ManifestRecord:
    """What a registry said of a manifest, and when (Unix time).

    repository: `host/name`. reference: a tag, or the digest itself. size: bytes. public: whether the registry
    gives it to anybody.
    """

    repository: str
    reference: str
    digest: Digest
    size: int
    media_type: str
    seen_at: float
    public: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """A client's hold on a tree. Times in seconds.

    deadline: on the monotonic clock of this process; it decides. expires_at: the same as Unix time when
    the lease was granted or renewed, for people and for the next process.
    """

    id: str
    tree: Digest
    ref: str
    holder: str
    ttl: float
    deadline: float
    expires_at: float


class PinnedBy(Enum):
    """Who pins a ref: an operator's pin is durable, the catalog's is declared anew with each catalog."""

    OPERATOR = "operator"
    CATALOG = "catalog"


class Reason(StrEnum):
    """Why a tree left this node."""

    CAPACITY = "capacity"
    MIN_FREE = "min_free"
    OPERATOR = "operator"
    CORRUPT = "corrupt"
    LOST = "lost"


@dataclass(eq=False, slots=True)
class Reservation:
    """Room for a tree's missing blobs, and a hold on those that are here, until it is released."""

    tree: Tree
    released: bool = False


@dataclass(frozen=True, slots=True)
class Space:
    """The room, in bytes.

    used: complete blobs, and what lies in quarantine. reserved: promised to flights, and the partial blobs
    that they left. held: the part of used that leases, pins and flights keep from eviction, and kept blobs.
    """

    capacity: int
    used: int
    reserved: int
    held: int
    filesystem_free: int
    min_free: int


@dataclass(frozen=True, slots=True)
class ScrubStatus:
    """What the scrub read and found since the store was opened; when its last round ended (Unix time)."""

    blob_count: int = 0
    corrupt_count: int = 0
    last_round: float | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """How far a verification has come, in bytes; `corrupt` lists what it found since the last report.

    Each finding is a blob and the refs whose trees held it.
    """

    done: int
    total: int
    corrupt: tuple[tuple[Digest, tuple[str, ...]], ...] = ()
    finished: bool = False
