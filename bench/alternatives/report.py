"""From raw runs to a table: medians, and ratios to the baseline of the same round."""

from __future__ import annotations

from statistics import median
from typing import TypedDict


class Run(TypedDict):
    """One run as the JSON keeps it."""

    round: int
    axis: str
    name: str
    gb_per_second: float
    gb_per_second_written: float
    cpu_per_gb: float
    cpu_user_per_gb: float
    cpu_system_per_gb: float
    peak_rss_mib: float
    switches_per_gb: float
    busy_cores: float


def _row(axis: str, name: str, runs: list[Run], base: list[Run]) -> str:
    speeds = [run["gb_per_second"] for run in runs]
    cpu = median(run["cpu_per_gb"] for run in runs)
    rss = median(run["peak_rss_mib"] for run in runs)
    switches = median(run["switches_per_gb"] for run in runs)
    by_round = {run["round"]: run for run in base}
    speed_ratio = median(r["gb_per_second"] / by_round[r["round"]]["gb_per_second"] for r in runs)
    cpu_ratio = median(r["cpu_per_gb"] / by_round[r["round"]]["cpu_per_gb"] for r in runs)
    return (
        f"| {axis} | {name} | {median(speeds):.2f} ({min(speeds):.2f}-{max(speeds):.2f})"
        f" | {speed_ratio:.2f} | {cpu:.2f} | {cpu_ratio:.2f} | {rss:.0f} | {switches:.0f} |"
    )


def table(runs: list[Run], axes: dict[str, list[str]]) -> str:
    """A Markdown table; each axis's first name is its baseline."""
    lines = [
        "| axis | variant | GB/s, median (range) | x base | CPU s/GB | x base | RSS MiB | waits/GB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for axis, names in axes.items():
        here = [run for run in runs if run["axis"] == axis]
        base = [run for run in here if run["name"] == names[0]]
        lines += [_row(axis, name, [r for r in here if r["name"] == name], base) for name in names]
    return "\n".join(lines)
