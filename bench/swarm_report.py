"""From rounds of `swarm` to a table, a plot, and the figures wanted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict

from bench import plot
from bench.report import Report, Wanted, table
from bench.stats import median
from bench.swarm import PEERS, Swarm, Terms

_NOTE = (
    "All nodes are asked for the model in the same moment. Ideal is its size divided by the rate of a link,"
    " heads of TCP and TLS left out; the source has one such link. CPU is of the daemon or of libtorrent, and"
    " with cached contains TLS, which libtorrent does without. Control is what passed a node's control port,"
    " both ways and heads included. libtorrent was given the torrent, with the hashes of all pieces, and"
    " all addresses beforehand. Without peers, nodes were asked for an eighth of the model. Medians."
)
_KIB = 1 << 10


def write(report: Report, terms: Terms, rounds: Sequence[Swarm]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    ways = list(dict.fromkeys(each.way for each in rounds))

    def of(way: str, figure: Callable[[Swarm], float]) -> list[float]:
        return [figure(each) for each in rounds if each.way == way]

    last = {way: of(way, lambda each: max(each.done) * terms.rate / each.size) for way in ways}
    reads = {way: of(way, lambda each: each.read / each.size) for way in ways}
    cpu = {way: of(way, lambda each: sum(each.cpu) / len(each.cpu)) for way in ways}
    control = {way: of(way, lambda each: sum(each.control) / terms.nodes / _KIB) for way in ways}
    rows = [
        [
            way,
            str(len(last[way])),
            f"{median(last[way]):.2f}",
            f"{median(of(way, lambda each: median(each.done) * terms.rate / each.size)):.2f}",
            f"{median(reads[way]):.3f}",
            f"{median(cpu[way]):.2f}",
            f"{median(control[way]):.0f}" if way == PEERS else "",
        ]
        for way in ways
    ]
    head = (
        "way",
        "rounds",
        "last done / ideal",
        "median node / ideal",
        "source reads / size",
        "CPU s a node",
    )
    figures = [
        Wanted(f"{terms.nodes} cold nodes, last done / ideal", "<= 1.15", f"{median(last[PEERS]):.3f}"),
        Wanted(f"{terms.nodes} cold nodes, source reads / size", "<= 1.02", f"{median(reads[PEERS]):.3f}"),
    ]
    with plot.panels(report.path(".svg"), 1, 3, 3.6, 1.8) as [left, middle, right]:
        plot.bars(left, "last node done", "times size / link", last)
        plot.bars(middle, "read from the source", "times the size", reads)
        plot.bars(right, "CPU of a node", "s", cpu)
    text = report.write(
        asdict(terms),
        [asdict(each) for each in rounds],
        [table((*head, "control KiB a node"), rows), _NOTE],
        figures,
    )
    return text, figures
