"""The node's gate, put together."""

from __future__ import annotations

import random
from pathlib import Path

from cached.cluster.node import KubernetesNode
from cached.config.gate import Gate
from cached.engine.gate.agenda import Wish
from cached.engine.gate.keeper import GateKeeper, GateOptions
from cached.kit.clock import SystemClock
from cached.telemetry.metrics import Metrics

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def gate_of(gate: Gate, node: str, root: Path, metrics: Metrics) -> GateKeeper:
    """What `gate` describes, for the node of that name; nothing is asked yet."""
    clock = SystemClock()
    wish = Wish(gate.taint or "", gate.condition or "", gate.labels.prefix, gate.labels.most)
    return GateKeeper(
        GateOptions(node, gate.deadline, wish),
        KubernetesNode(node, clock),
        root / "gate.json",
        _BOOT.read_text().strip(),
        metrics,
        clock,
        random.Random(),  # noqa: S311 - jitter, not secrets
    )
