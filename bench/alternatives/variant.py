"""The axes: what may vary, and the baseline they vary around."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Receive = Literal[
    "none",
    "readinto",
    "readinto+lowat",
    "waitall",
    "waitall+lowat",
    "waitall+rcvbuf",
    "waitall+lowat+rcvbuf",
    "urllib3-readinto",
    "urllib3-read",
]
Write = Literal["none", "direct", "direct+hugepage", "direct+sparse", "buffered+sync", "buffered"]
Digest = Literal["none", "blake3", "blake3+sha256", "blake3+crc64nvme"]
Schedule = Literal["threads", "executor"]
Origin = Literal["nginx", "seaweedfs"]


@dataclass(frozen=True)
class Variant:
    """One way to move a blob; the defaults are the baseline."""

    receive: Receive = "waitall"
    write: Write = "direct"
    digest: Digest = "blake3"
    chunk_mib: int = 8
    connections: int = 8
    schedule: Schedule = "executor"
    origin: Origin = "nginx"


BASELINE = Variant()

# What the disk takes and what the network gives, each without the other.
# Both run with the baseline, so that a slow minute of the machine shows in all.
DISK_LIMIT = replace(BASELINE, receive="none", digest="none")
NETWORK_LIMIT = replace(BASELINE, write="none", digest="none")

_RECEIVES: tuple[Receive, ...] = (
    "waitall",
    "readinto",
    "readinto+lowat",
    "waitall+lowat",
    "waitall+rcvbuf",
    "waitall+lowat+rcvbuf",
    "urllib3-readinto",
    "urllib3-read",
)
_WRITES: tuple[Write, ...] = (
    "direct",
    "direct+hugepage",
    "direct+sparse",
    "buffered+sync",
    "buffered",
)
_DIGESTS: tuple[Digest, ...] = ("blake3", "none", "blake3+sha256", "blake3+crc64nvme")
_SCHEDULES: tuple[Schedule, ...] = ("executor", "threads")
_ORIGINS: tuple[Origin, ...] = ("nginx", "seaweedfs")

# "receive only" repeats the first axis without disk and digest: where the disk
# is the limit, receivers differ in CPU only, and a noisy disk hides even that.
AXES: dict[str, dict[str, Variant]] = {
    "receive": {r: replace(BASELINE, receive=r) for r in _RECEIVES},
    "receive only": {r: replace(NETWORK_LIMIT, receive=r) for r in _RECEIVES},
    "write": {w: replace(BASELINE, write=w) for w in _WRITES},
    "digest": {d: replace(BASELINE, digest=d) for d in _DIGESTS},
    "chunk": {f"{m} MiB": replace(BASELINE, chunk_mib=m) for m in (8, 1, 4, 16)},
    "connections": {str(n): replace(BASELINE, connections=n) for n in (8, 2, 4, 16, 32)},
    "schedule": {s: replace(BASELINE, schedule=s) for s in _SCHEDULES},
    "origin": {o: replace(BASELINE, origin=o) for o in _ORIGINS},
}
