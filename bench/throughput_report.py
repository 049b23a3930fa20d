"""From runs of `throughput` to tables, a plot, and the figures wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench import plot
from bench.disk import MIB
from bench.report import Report, Wanted, table
from bench.stats import median
from bench.throughput import CACHED, CACHED_CRC, DISK_LIMIT, S5CMD, Options, Run

_GB = 1e9
_HEAD = (
    "client", "GB/s on disk (range)", "GB/s said", "x s5cmd", "x disk limit", "CPU s/GB", "x s5cmd",
    "peak MiB", "buffers", "cores busy",
)  # fmt: skip

Figure = Callable[[Run], float]


def write(report: Report, options: Options, runs: Sequence[Run]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    tables = [
        "`on disk` ends when the bytes are durable, `said` when the client ended. CPU is the client's. Ratios"
        f" are medians of those within a round. {options.connections} connections each.",
    ]
    figures = []
    groups = list(dict.fromkeys((run.origin, run.model) for run in runs))
    for origin, model in groups:
        here = [run for run in runs if (run.origin, run.model) == (origin, model)]
        tables.append(f"## {model} from {origin}\n\n{runs_table(here)}")
        figures += _figures(f"{model} from {origin}", here)
    plot_runs(report, groups, runs)
    return report.write(asdict(options), [asdict(run) for run in runs], tables, figures), figures


def speed(run: Run) -> float:
    """GB/s until the bytes were on the disk."""
    return run.size / _GB / run.durable_seconds


def cpu(run: Run) -> float:
    """CPU seconds per GB."""
    return run.cpu / (run.size / _GB)


def ratio(runs: Sequence[Run], client: str, other: str, figure: Figure) -> float:
    """The median over the rounds of `figure` of one client by that of the other."""
    by_round = {run.round: run for run in runs if run.client == other}
    return median(figure(run) / figure(by_round[run.round]) for run in runs if run.client == client)


def runs_table(runs: Sequence[Run]) -> str:
    rows = []
    for client in dict.fromkeys(run.client for run in runs):
        mine = [run for run in runs if run.client == client]
        speeds = [speed(run) for run in mine]
        row = [
            client,
            f"{median(speeds):.2f} ({min(speeds):.2f}-{max(speeds):.2f})",
            f"{median(run.size / _GB / run.seconds for run in mine):.2f}",
            f"{ratio(runs, client, S5CMD, speed):.2f}",
            f"{ratio(runs, client, DISK_LIMIT, speed):.2f}",
        ]
        if client == DISK_LIMIT:
            row += ["", "", "", ""]
        else:
            peak = max(run.peak_rss for run in mine)
            buffers = mine[0].buffers
            row += [
                f"{median(cpu(run) for run in mine):.2f}",
                f"{ratio(runs, client, S5CMD, cpu):.2f}",
                f"{peak / MIB:.0f}" if peak else "",
                f"{buffers / MIB:.0f}" if buffers else "",
            ]
        rows.append([*row, f"{median(run.busy_cores for run in mine):.1f}"])
    return table(_HEAD, rows)


def _figures(where: str, runs: Sequence[Run]) -> list[Wanted]:
    figures = []
    for client in dict.fromkeys(run.client for run in runs if run.client in (CACHED, CACHED_CRC)):
        what = f"{client}, {where}"
        mine = [run for run in runs if run.client == client]
        peak, buffers = max(run.peak_rss for run in mine) / 1e6, mine[0].buffers / 1e6
        figures += [
            Wanted(f"throughput of {what}", ">= 2 x s5cmd", f"{ratio(runs, client, S5CMD, speed):.2f} x"),
            Wanted(
                f"throughput of {what}", ">= 0.9 x disk", f"{ratio(runs, client, DISK_LIMIT, speed):.2f} x"
            ),
            Wanted(f"CPU per GB of {what}", "<= 0.35 x s5cmd", f"{ratio(runs, client, S5CMD, cpu):.2f} x"),
            Wanted(f"memory of {what}", f"<= 150 + {buffers:.0f} MB of buffers", f"{peak:.0f} MB"),
        ]
    return figures


def plot_runs(report: Report, groups: Sequence[tuple[str, str]], runs: Sequence[Run]) -> None:
    with plot.panels(report.path(".svg"), len(groups), 2, 4.6, 2.6) as axes:
        for row, (origin, model) in enumerate(groups):
            here = [run for run in runs if (run.origin, run.model) == (origin, model)]
            clients = list(dict.fromkeys(run.client for run in here))
            by_client = {client: [run for run in here if run.client == client] for client in clients}
            speeds = {client: [speed(run) for run in mine] for client, mine in by_client.items()}
            plot.bars(axes[2 * row], f"{model} from {origin}", "GB/s until on disk", speeds)
            del by_client[DISK_LIMIT]
            costs = {client: [cpu(run) for run in mine] for client, mine in by_client.items()}
            plot.bars(axes[2 * row + 1], "client CPU", "CPU seconds per GB (less is better)", costs)
