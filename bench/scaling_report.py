"""From points of `scaling` to a table, a plot, and the figures wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

from bench import plot
from bench.disk import MIB
from bench.report import Report, Wanted, table
from bench.scaling import Point
from bench.stats import growth, median, n_log_n_growth, percentile

_NOTE = (
    "Growth is the exponent k of the power law n^k that fits best; n log n has {bound:.2f} at these sizes."
    " What an empty store takes is taken off start and memory before; sizes that hardly differ from it are"
    " left out."
)
_FROM = 0.1
"""Part of the empty store's cost that a store must add to be counted in the fit."""


def write(report: Report, points: Sequence[Point]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures. The first point is an empty store."""
    empty, *filled = points
    sizes = [point.blobs for point in filled]
    costs = {
        "start": [median(point.start) - median(empty.start) for point in filled],
        "memory": [median(point.rss) - median(empty.rss) for point in filled],
    }
    bases = {"start": median(empty.start), "memory": median(empty.rss)}
    decisions = [median(point.decisions) for point in filled]
    grown = {name: _growth(sizes, costs[name], bases[name]) for name in costs}
    grown["decision"] = growth(sizes, decisions)
    last = filled[-1]
    figures = [
        Wanted(f"start with {last.blobs:,} blobs", "<= 2 s", f"{median(last.start):.2f} s"),
        Wanted(
            f"eviction decision with {last.blobs:,} blobs",
            "<= 1 ms",
            f"{1e3 * median(last.decisions):.4f} ms (p99: {1e3 * percentile(last.decisions, 99):.4f} ms)",
        ),
        *(Wanted(f"growth of {name}", "<= that of n log n", _exponent(each)) for name, each in grown.items()),
    ]
    with plot.panels(report.path(".svg"), 1, 3, 3.4, 3.0) as [left, middle, right]:
        plot.growing(left, "start", "s", sizes, [median(point.start) for point in filled])
        plot.growing(middle, "memory", "MiB", sizes, [median(point.rss) / MIB for point in filled])
        plot.growing(right, "an eviction decision", "µs", sizes, [1e6 * each for each in decisions])
    text = report.write(
        {"sizes": sizes, "starts": len(empty.start)},
        [asdict(point) for point in points],
        [_table(points), _NOTE.format(bound=n_log_n_growth(sizes))],
        figures,
    )
    return text, figures


def _growth(sizes: Sequence[int], costs: Sequence[float], base: float) -> float:
    """Of the points that stand out from the empty store; NaN when fewer than two do."""
    clear = [(size, cost) for size, cost in zip(sizes, costs, strict=True) if cost > _FROM * base]
    return growth(*zip(*clear, strict=True)) if len(clear) > 1 else math.nan


def _exponent(grown: float) -> str:
    return "too small to tell" if math.isnan(grown) else f"n^{grown:.2f}"


def _table(points: Sequence[Point]) -> str:
    rows = [
        [
            f"{point.blobs:,}",
            f"{point.trees:,}",
            f"{median(point.start):.2f}",
            f"{median(point.rss) / MIB:.0f}",
            f"{1e6 * median(point.decisions):.1f}" if point.decisions else "",
            f"{1e6 * percentile(point.decisions, 99):.1f}" if point.decisions else "",
            f"{1e3 * median(point.large_decisions):.2f}" if point.large_decisions else "",
        ]
        for point in points
    ]
    head = ("blobs", "trees", "start s", "RSS MiB", "decision us", "p99 us", "decision to evict 10 %, ms")
    return table(head, rows)
