"""What the number of blobs in the index costs: start, eviction decision, memory."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import synthetic
from bench.daemon import Daemon
from bench.stats import median
from cached.kit.clock import SystemClock
from cached.store import eviction
from cached.store.layout import Layout
from cached.store.recovery import open_index, recover

_CAPACITY = 1 << 60
_DECISIONS = 1000
_OFF = {"capacity": _CAPACITY, "min_free": 0, "scrub": {"rate": 0}}


@dataclass(frozen=True, slots=True)
class Point:
    """At so many blobs. Seconds from process start to serving, and of each eviction decision; bytes resident.

    large_decisions: decisions that evict a tenth of all trees at once, and how many trees that is.
    """

    blobs: int
    trees: int
    start: list[float]
    rss: list[int]
    decisions: list[float]
    large_decisions: list[float]


def run(work: Path, sizes: Sequence[int], starts: int) -> Iterator[Point]:
    """Measure an empty store, then one that grows to each of `sizes`, starting the daemon `starts` times."""
    root = work / "root"
    blobs = 0
    try:
        for size in [0, *sorted(sizes)]:
            synthetic.grow(root, blobs, size)
            blobs = size
            os.sync()
            start, rss = [], []
            for _ in range(starts):
                with Daemon(root, _OFF) as daemon:
                    start.append(daemon.start_seconds)
                    rss.append(daemon.rss())
            decisions, large = _decisions(root) if size else ([], [])
            point = Point(size, synthetic.tree_count(size), start, rss, decisions, large)
            print(f"{size} blobs: start {median(start):.2f} s", file=sys.stderr)
            yield point
    finally:
        _delete(root)


def _decisions(root: Path) -> tuple[list[float], list[float]]:
    """Time decisions on the state that recovery finds: room for one more model, then for very many."""
    layout = Layout(root)
    connection = open_index(layout)
    try:
        ledger = recover(layout, connection, _CAPACITY, SystemClock()).ledger
    finally:
        connection.close()

    def decide(short: int) -> float:
        began = time.perf_counter()
        plan = eviction.plan(ledger, short, frozenset())
        seconds = time.perf_counter() - began
        if plan is None or plan.freed < short:
            raise RuntimeError("the decision frees too little")
        return seconds

    model = synthetic.BLOBS_PER_TREE * synthetic.BLOB_BYTES
    return [decide(model) for _ in range(_DECISIONS)], [decide(ledger.used // 10) for _ in range(10)]


def _delete(root: Path) -> None:
    for tree in (root / "trees").iterdir():
        tree.chmod(0o755)
    shutil.rmtree(root)
