"""The gate's record, as a small file beside the index."""

from __future__ import annotations

import json
from pathlib import Path

from cached.engine.gate.decider import Reason, Record
from cached.kit.durable import write_atomic


def load(path: Path) -> Record | None:
    """None when there is none that can be read: the gate is closed then, and opens as on a new node."""
    try:
        told = json.loads(path.read_bytes())
        opened = None if told["opened"] is None else Reason(told["opened"])
        return Record(str(told["boot"]), str(told["node"]), float(told["began"]), opened)
    except (OSError, ValueError, TypeError, LookupError):
        return None


def save(path: Path, record: Record) -> None:
    """Raises OSError."""
    told = {
        "boot": record.boot,
        "node": record.node,
        "began": record.began,
        "opened": record.opened.value if record.opened else None,
    }
    write_atomic(path, json.dumps(told).encode(), 0o600)
