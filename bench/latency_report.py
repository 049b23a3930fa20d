"""From samples of `latency` to a table, a plot, and the figures wanted."""

from __future__ import annotations

from bench import plot
from bench.latency import ACQUIRE, EMPTY, Latencies
from bench.report import Report, Wanted, table
from bench.stats import percentile

_GET = "cachectl get, from process start"


def write(report: Report, measured: Latencies) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    calls = {kind: [1e3 * each for each in seconds] for kind, seconds in measured.calls.items()}
    shell = [1e3 * each for each in measured.cachectl_get]
    empty = percentile(calls[EMPTY], 50)
    rows = []
    for kind, samples in {**calls, _GET: shell}.items():
        places = [percentile(samples, percent) for percent in (50, 95, 99)]
        rows.append(
            [kind, str(len(samples)), *(f"{place:.2f}" for place in places), f"{places[0] / empty:.2f}"]
        )
    head = ("call", "calls", "p50 ms", "p95 ms", "p99 ms", "p50 x empty RPC")
    figures = [
        Wanted(
            "warm Acquire, p50",
            "<= 1.5 x empty RPC",
            f"{percentile(calls[ACQUIRE], 50) / empty:.2f} x"
            f" (p99: {percentile(calls[ACQUIRE], 99) / percentile(calls[EMPTY], 99):.2f} x)",
        ),
        Wanted(
            "cachectl get of a warm model",
            "<= 300 ms",
            f"{percentile(shell, 50):.0f} ms (p95: {percentile(shell, 95):.0f} ms)",
        ),
    ]
    with plot.panels(report.path(".svg"), 1, 1, 6.4, 3.6) as [axes]:
        plot.distribution(axes, "A warm model, over the unix socket", "ms", calls)
    options = {"calls": len(calls[EMPTY]), "runs": len(shell)}
    data = {"calls_ms": _rounded(calls), "cachectl_get_ms": _rounded({_GET: shell})[_GET]}
    return report.write(options, data, [table(head, rows)], figures), figures


def _rounded(samples: dict[str, list[float]]) -> dict[str, list[float]]:
    """To the microsecond: the clock tells no more."""
    return {kind: [round(each, 3) for each in values] for kind, values in samples.items()}
