"""From runs of `peer` to a table, a plot, and the figures wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from bench.peer import ENCRYPTED, PLAINTEXT
from bench.report import Report, Wanted
from bench.throughput import S5CMD, Options, Run
from bench.throughput_report import plot_runs, ratio, runs_table, speed


def write(report: Report, options: Options, runs: Sequence[Run]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    tables = [
        "s5cmd reads without TLS from nginx, cached from another daemon of cached; all on this machine. `on"
        " disk` ends when the bytes are durable, `said` when the client ended. CPU is the client's. Ratios"
        " are medians of those within a round.",
        runs_table(runs),
    ]
    figures = [
        Wanted(
            f"peer to disk, {client.removeprefix('cached, ')}",
            f">= {least} x s5cmd",
            f"{ratio(runs, client, S5CMD, speed):.2f} x",
        )
        for client, least in ((ENCRYPTED, 1.2), (PLAINTEXT, 1.5))
    ]
    plot_runs(report, [("nginx", "one file")], runs)
    return report.write(asdict(options), [asdict(run) for run in runs], tables, figures), figures
