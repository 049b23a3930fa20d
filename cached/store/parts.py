"""What the store's doing modules share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from cached.core.clock import Clock
from cached.kit.pool import Pool
from cached.store.index import Index
from cached.store.layout import Layout
from cached.store.state import State
from cached.telemetry.metrics import Metrics


@dataclass(slots=True)
class Parts:
    """The pieces of one open store.

    state: changed on the event loop only. files: threads that fill and check stages. readers: threads that
    read blobs again. small: threads that read small blobs whole, for which those could take too long.
    changing: held while room is promised and while things are published or taken away, so that no decision
    is built on what another is about to remove; changes: the thread for that.
    """

    layout: Layout
    state: State
    index: Index
    files: Pool
    readers: Pool
    small: Pool
    changes: Pool
    metrics: Metrics
    clock: Clock
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
