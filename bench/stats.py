"""Medians, percentiles, and how fast a cost grows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence


def median(values: Iterable[float]) -> float:
    return percentile(values, 50)


def percentile(values: Iterable[float], percent: float) -> float:
    """Linear between the two nearest of the sorted values. Raises ValueError when there are none."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values")
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def growth(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The exponent k of the power law `cost ~ size**k` that fits best (least squares of the logarithms).

    The part of a cost that does not grow pulls it down; take it off before where it is known.
    """
    xs = [math.log(size) for size in sizes]
    ys = [math.log(cost) for cost in costs]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    return sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True)) / spread


def n_log_n_growth(sizes: Sequence[int]) -> float:
    """What `growth` says of a cost of exactly n log n at these sizes: a little over 1."""
    return growth(sizes, [size * math.log(size) for size in sizes])
