"""Simulated swarms of 10 to 1,000 nodes: the real deciding code, links and messages in virtual time.

`python -m bench.swarm_simulation` takes some minutes and writes `<date>-swarm-simulation.*`.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench import plot
from bench.process import REPOSITORY
from bench.report import Report, Wanted, table
from bench.stats import median
from cached.peers.wire.coordinator import encode_coordinator
from cached.peers.wire.exchange import encode_exchange_response
from cached.peers.wire.participant import encode_participant
from cached.swarm.messages import (
    Grant,
    Hashes,
    Holding,
    Neighbours,
    Pause,
    Refused,
    WantHashes,
    Welcome,
)
from tests.swarm.world import CHUNK, Conditions, Message, cold

PART = "swarm-simulation"
_SWARMS: Final = ((10, 128, 3), (16, 128, 3), (100, 128, 3), (1000, 256, 2))
"""Nodes, chunks of the tree, and how many seeds."""
_FRAME: Final = 14  # bytes of HTTP/2 and gRPC around a message
_SAMPLE: Final = 20  # one message in so many of its kind is weighed
_NOTE: Final = (
    "Each node has a link of {link} Gbit/s, and the source one as narrow; all nodes are cold and are asked"
    " for the same tree at once. Ideal is the time that one link needs for it. Of several seeds, the worst"
    " run is shown. Bytes of messages are those on the wire, with the frames of gRPC, without TLS;"
    " messages per second are those that a member sends in its busiest second."
)


@dataclass(frozen=True, slots=True)
class Run:
    """One swarm, once. done: when each node had the tree, in ideal times, ascending.

    reads: bytes that left the source, in sizes of the tree. messages, message_bytes: that were sent, per
    node. member_rate, coordinator_rate: messages in the busiest second of one.
    """

    nodes: int
    chunks: int
    seed: int
    done: list[float]
    reads: float
    messages: float
    message_bytes: float
    member_rate: int
    coordinator_rate: int


class _Scales:
    """Weighs a sample of the messages as the wire would send them."""

    def __init__(self) -> None:
        self._seen: Counter[type] = Counter()
        self._weight: Counter[type] = Counter()

    @property
    def total(self) -> float:
        return sum(self._weight[kind] / -(-seen // _SAMPLE) * seen for kind, seen in self._seen.items())

    def weigh(self, message: Message) -> None:
        kind = type(message)
        if self._seen[kind] % _SAMPLE == 0:
            self._weight[kind] += len(_encode(message)) + _FRAME
        self._seen[kind] += 1


def _encode(message: Message) -> bytes:
    match message:
        case Holding():
            return encode_exchange_response(message)
        case Welcome() | Neighbours() | Grant() | Hashes() | WantHashes() | Pause() | Refused():
            return encode_coordinator(message)
        case _:
            return encode_participant(message)


def run(swarms: Sequence[tuple[int, int, int]] = _SWARMS) -> Iterator[Run]:
    """Simulate each of `swarms`: nodes, chunks, seeds."""
    for nodes, chunks, seeds in swarms:
        for seed in range(1, seeds + 1):
            result = _simulate(nodes, chunks, seed)
            print(f"{nodes} nodes: {result.done[-1]:.3f} of ideal", file=sys.stderr)
            yield result


def _simulate(nodes: int, chunks: int, seed: int) -> Run:
    scales = _Scales()
    world = cold(nodes, Conditions(chunks=chunks), seed, scales.weigh)
    world.run(3 * world.ideal)
    ends = [node.finished for node in world.nodes.values()]
    return Run(
        nodes,
        chunks,
        seed,
        sorted(float("inf") if end is None else end / world.ideal for end in ends),
        world.source_reads,
        sum(world.messages.values()) / nodes,
        scales.total / nodes,
        max(max(node.sent.values()) for node in world.nodes.values()),
        max(max(node.coordinator_sent.values(), default=0) for node in world.nodes.values()),
    )


def write(report: Report, runs: Sequence[Run]) -> tuple[str, list[Wanted]]:
    """Write all files of the report; returns its text and its figures."""
    worst = {each.nodes: each for each in sorted(runs, key=lambda each: each.done[-1])}
    shown = [worst[nodes] for nodes in sorted(worst)]
    figures = [
        Wanted(f"last of {each.nodes:,} nodes done / ideal", f"<= {bound}", f"{each.done[-1]:.3f}")
        for each in shown
        if (bound := {16: 1.15, 1000: 1.2}.get(each.nodes))
    ]
    reads = max(each.reads for each in runs)
    figures.append(Wanted("source read / size", "<= 1.02", f"{reads:.3f}"))
    with plot.panels(report.path(".svg"), 1, 2, 4.0, 3.0) as [left, right]:
        sizes = [each.nodes for each in shown]
        left.semilogx(sizes, [each.done[-1] for each in shown], "o-", color=plot.OURS, label="last")
        left.semilogx(sizes, [median(each.done) for each in shown], "o-", color=plot.THEIRS, label="median")
        left.axhline(1.2, linestyle="--", color=plot.LIMIT, label="wanted of the last")
        left.set_ylim(1.0, 1.3)
        left.set_xlabel("nodes")
        left.set_ylabel("time / ideal")
        left.set_title("done")
        for each in shown:
            shares = [(place + 1) / each.nodes for place in range(each.nodes)]
            right.plot(each.done, shares, label=f"{each.nodes:,} nodes")
        right.set_xlabel("time / ideal")
        right.set_ylabel("share of nodes done")
        right.set_title("how they become done")
        for axes in (left, right):
            axes.grid(alpha=0.25, linewidth=0.5)
            axes.legend(frameon=False)
    link = 8 * CHUNK * Conditions().link / 1e9
    text = report.write(
        {"swarms (nodes, chunks, seeds)": _seeds(runs)},
        [asdict(each) for each in runs],
        [_table(shown), _NOTE.format(link=f"{link:.1f}")],
        figures,
    )
    return text, figures


def _seeds(runs: Sequence[Run]) -> list[tuple[int, int, int]]:
    counts = Counter((each.nodes, each.chunks) for each in runs)
    return [(nodes, chunks, count) for (nodes, chunks), count in counts.items()]


def _table(shown: Sequence[Run]) -> str:
    rows = [
        [
            f"{each.nodes:,}",
            f"{each.chunks}",
            f"{each.done[-1]:.3f}",
            f"{median(each.done):.3f}",
            f"{each.reads:.3f}",
            f"{each.messages:.0f}",
            f"{each.message_bytes / 1e3:.0f}",
            f"{each.member_rate}",
            f"{each.coordinator_rate}",
        ]
        for each in shown
    ]
    head = (
        "nodes",
        "chunks",
        "last / ideal",
        "median / ideal",
        "read / size",
        "messages per node",
        "their kB",
        "messages/s, member",
        "coordinator",
    )
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.swarm_simulation", description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=REPOSITORY / "bench" / "results", help="where results go"
    )
    results = parser.parse_args().results
    results.mkdir(parents=True, exist_ok=True)
    text, _ = write(Report(PART, results, results), list(run()))
    print(text)


if __name__ == "__main__":
    main()
