"""How much may happen at once, and how long anything may take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Bounds of one Transfer. Memory is (connections + spare_buffers) times the largest chunk, at most.

    connections: chunks in flight, over all sources and peers. spare_buffers: chunks that sinks may retain
    beside them. bandwidth: bytes per second over all sources, 0 for no bound. connect_timeout, in seconds:
    to resolve aside, one attempt to connect, and each step of a TLS handshake. stall_timeout: seconds
    without a byte before a chunk is asked for again. min_rate: bytes per second that each connection brings
    over any stall_timeout, or its chunk is asked for again. give_up_after: seconds without any progress of
    a file before its fetch fails. ca_file: PEM bundle to trust instead of the system's. ca_files: others to
    trust, and nothing else, at those `host:port`.
    """

    connections: int = 16
    spare_buffers: int = 8
    bandwidth: int = 0
    connect_timeout: float = 5.0
    stall_timeout: float = 20.0
    min_rate: int = 16 << 10
    give_up_after: float = 300.0
    ca_file: Path | None = None
    ca_files: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceLimits:
    """Bounds of one source beside the global ones. 0 leaves it to those."""

    connections: int = 0
    bandwidth: int = 0


UNLIMITED: Final = SourceLimits()
