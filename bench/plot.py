"""Plots, as SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.stats import median, percentile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "svg.fonttype": "none",
    "svg.hashsalt": "cached",
    "figure.constrained_layout.use": True,
}
_SHOWN = 99.5  # percent; the rest is in the raw data
OURS, THEIRS, LIMIT = "#1f77b4", "#b0b7c0", "#e8b04a"


@contextmanager
def panels(path: Path, rows: int, columns: int, width: float, height: float) -> Iterator[list[Axes]]:
    """Axes to draw on, row by row; `path` is written at the end. Sizes of one panel in inches."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    with mpl.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, columns, figsize=(width * columns, height * rows), squeeze=False)
        yield list(axes.flat)
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def bars(axes: Axes, title: str, unit: str, values: Mapping[str, Sequence[float]]) -> None:
    """A horizontal bar at the median of each row, and a dot for each value."""
    for place, (label, each) in enumerate(values.items()):
        color = OURS if label.startswith("cached") else LIMIT if label.startswith("disk") else THEIRS
        axes.barh(place, median(each), color=color, height=0.65)
        axes.plot(each, [place] * len(each), ".", color="#333333", markersize=4)
        axes.annotate(f" {median(each):.2f}", (max(each), place), va="center", fontsize=8)
    axes.set_yticks(range(len(values)), list(values))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_title(title)
    axes.set_xlabel(unit)


def distribution(axes: Axes, title: str, unit: str, values: Mapping[str, Sequence[float]]) -> None:
    """For each row, which share of its values is at most so much."""
    for label, each in values.items():
        ordered = sorted(each)
        shares = [(place + 1) / len(ordered) for place in range(len(ordered))]
        axes.plot(ordered, shares, label=label, linewidth=1.4)
    axes.set_xscale("log")
    axes.set_xlim(right=max(percentile(each, _SHOWN) for each in values.values()))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(unit)
    axes.set_ylabel("share of calls")
    axes.set_title(title)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    axes.legend(frameon=False, loc="lower right")


def growing(axes: Axes, title: str, unit: str, sizes: Sequence[int], costs: Sequence[float]) -> None:
    """A cost over the number of blobs, and n log n through its last value."""
    last = sizes[-1] * math.log(sizes[-1])
    bound = [costs[-1] * size * math.log(size) / last for size in sizes]
    axes.loglog(sizes, costs, "o-", color=OURS, label="measured")
    axes.loglog(sizes, bound, "--", color=LIMIT, label="n log n")
    axes.set_ylim(bottom=min(costs) / 3)
    axes.set_title(title)
    axes.set_xlabel("blobs")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.25, linewidth=0.5)
    axes.legend(frameon=False)
