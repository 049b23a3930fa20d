"""From pulls of images to a table, a plot, and the figures wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench import plot
from bench.images import DIRECT, TOGETHER, WARM, WAYS, Pull, Terms
from bench.report import Report, Wanted, table
from bench.stats import median

_NOTE = (
    "Wall time until containerd has unpacked the image, which it writes to disk twice. All ways in turn, in"
    " each round, each with nothing in the page cache, of the registry's either; the same registry, over"
    " links of 20 Gbit/s between namespaces of one machine. Neighbours speak mutual TLS; a cold daemon and a"
    " warm one have the others as members, too. CPU is of all daemons with their guards, of all containerds"
    " that pull, and of the registry. Medians."
)


def write(report: Report, terms: Terms, pulls: Sequence[Pull]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    ways = [way for way in WAYS if any(pull.way == way for pull in pulls)]

    def of(way: str, figure: Callable[[Pull], float]) -> list[float]:
        return [figure(pull) for pull in pulls if pull.way == way]

    seconds = {way: of(way, lambda pull: pull.seconds) for way in ways}
    reads = {way: of(way, lambda pull: pull.registry / pull.size) for way in ways}
    # Of each round the quotient, so that a machine that slows down does so for both.
    warm = [mine / theirs for mine, theirs in zip(seconds[WARM], seconds[DIRECT], strict=True)]
    rows = [
        [
            way,
            str(len(seconds[way])),
            f"{median(seconds[way]):.2f}",
            f"{median(reads[way]):.3f}",
            f"{median(of(way, lambda pull: pull.cached)):.2f}",
            f"{median(of(way, lambda pull: pull.runtime)):.2f}",
            f"{median(of(way, lambda pull: pull.source)):.2f}",
        ]
        for way in ways
    ]
    head = (
        "way",
        "pulls",
        "s",
        "registry reads / size",
        "CPU s cached",
        "CPU s containerd",
        "CPU s registry",
    )
    figures = [
        Wanted("pull of a warm image / from its registry", "<= 1.0", f"{median(warm):.3f}"),
        Wanted(
            "three cold nodes at once, registry reads / size", "<= 1.02", f"{median(reads[TOGETHER]):.3f}"
        ),
    ]
    with plot.panels(report.path(".svg"), 1, 2, 4.4, 2.4) as [left, right]:
        plot.bars(left, "pulled and unpacked", "s", seconds)
        plot.bars(right, "read from the registry", "times the size", reads)
    text = report.write(asdict(terms), [asdict(pull) for pull in pulls], [table(head, rows), _NOTE], figures)
    return text, figures
