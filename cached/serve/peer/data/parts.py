"""What the connections of one data server share."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Final

from cached.core.peer import Shelf
from cached.peers.identity import Identity
from cached.serve.peer.data.options import DataOptions
from cached.serve.peer.data.pace import Pace
from cached.serve.peer.data.slots import Slots
from cached.serve.peer.data.tally import Tally
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_QUIET: Final = 10.0  # seconds


@dataclass(slots=True)
class DataParts:
    """Everything here is thread-safe."""

    shelf: Shelf
    identity: Identity | None
    metrics: Metrics
    options: DataOptions
    slots: Slots
    pace: Pace
    tally: Tally = field(default_factory=Tally)
    _next_complaint: float = 0.0

    def refuse(self, reason: str) -> None:
        """Count a request that is not served."""
        self.metrics.peer_refused.labels(reason=reason).inc()

    def complain(self, message: str, address: str, reason: str) -> None:
        """Tell operators, once in a while: whoever reaches the port could fill the log otherwise."""
        now = time.monotonic()
        if now >= self._next_complaint:
            self._next_complaint = now + _QUIET
            log.warning(message, extra={"peer": address, "reason": reason})
