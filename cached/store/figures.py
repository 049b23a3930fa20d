"""What operators read of the store, as it is when they ask."""

from __future__ import annotations

from cached.store.faults import free_bytes
from cached.store.parts import Parts
from cached.store.probe import Probe
from cached.store.records import Space
from cached.store.watch import Watch
from cached.telemetry.metrics import Metrics


class Figures:
    """Reads only."""

    def __init__(self, parts: Parts, min_free: int, probe: Probe, watch: Watch) -> None:
        self._root = parts.layout.root
        self._ledger = parts.state.ledger
        self._holds = parts.state.holds
        self._index = parts.index
        self._min_free = min_free
        self._probe = probe
        self._watch = watch

    def space(self) -> Space:
        """As Store.space."""
        ledger = self._ledger
        return Space(
            capacity=ledger.capacity,
            used=ledger.used,
            reserved=ledger.reserved,
            held=ledger.held,
            filesystem_free=free_bytes(self._root),
            min_free=self._min_free,
        )

    def warnings(self) -> tuple[str, ...]:
        """As Store.warnings."""
        found = []
        if self._probe.fault:
            found.append(f"the disk is gone, and nothing is served: {self._probe.fault}")
        if self._ledger.free < 0:
            found.append("what is held takes more than the capacity: unpin models or end their readers")
        if self._index.fault:
            found.append(f"leases are not recorded: {self._index.fault}")
        if self._watch.fault:
            found.append(self._watch.fault)
        return tuple(found)

    def show(self, metrics: Metrics) -> None:
        """Gauges that are read when somebody asks for them, and so are never behind."""
        ledger, holds = self._ledger, self._holds
        metrics.capacity.set(ledger.capacity)
        metrics.used.set_function(lambda: ledger.used)
        metrics.reserved.set_function(lambda: ledger.reserved)
        metrics.held.set_function(lambda: ledger.held)
        metrics.filesystem_free.set_function(lambda: free_bytes(self._root))
        metrics.leases.set_function(lambda: len(holds.leases))
        metrics.blobs.set_function(lambda: ledger.blob_count)
        metrics.trees.set_function(lambda: len(ledger.trees))
