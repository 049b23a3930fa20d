"""From samples of `csi` to a table, a plot, and the figures wanted."""

from __future__ import annotations

from bench import plot
from bench.csi import EMPTY, PROGRAM, PUBLISH, SYSCALL, Terms
from bench.report import Report, Wanted, table
from bench.stats import percentile


def write(report: Report, terms: Terms, measured: dict[str, list[float]]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    calls = {kind: [1e3 * each for each in seconds] for kind, seconds in measured.items()}
    empty = percentile(calls[EMPTY], 50)
    rows = []
    for kind, samples in calls.items():
        places = [percentile(samples, percent) for percent in (50, 95, 99)]
        rows.append(
            [kind, str(len(samples)), *(f"{place:.2f}" for place in places), f"{places[0] / empty:.2f}"]
        )
    head = ("call", "calls", "p50 ms", "p95 ms", "p99 ms", "p50 x empty RPC")
    shown = {
        "": PUBLISH,
        "mount(2) ": SYSCALL,
        "mount --bind ": PROGRAM,
    }
    figures = [
        Wanted(
            f"a warm model's volume, from call to mounted, {len(calls[PUBLISH])} times: p50, p99",
            "a plain bind mount beside it",
            "; ".join(
                f"{name}{_ms(calls[kind], 50)}, {_ms(calls[kind], 99)}" for name, kind in shown.items()
            ),
        )
    ]
    with plot.panels(report.path(".svg"), 1, 1, 6.4, 3.6) as [axes]:
        plot.distribution(axes, "A volume with a warm model", "ms", calls)
    data = {"calls_ms": {kind: [round(each, 3) for each in samples] for kind, samples in calls.items()}}
    options = {"calls": terms.calls, "crowd": terms.crowd}
    return report.write(options, data, [table(head, rows)], figures), figures


def _ms(samples: list[float], percent: float) -> str:
    return f"{percentile(samples, percent):.2f} ms"
