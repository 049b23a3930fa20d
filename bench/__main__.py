"""`make bench`: measure all, write bench/results/, and print what was wanted beside what was measured."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench import (
    csi,
    csi_report,
    images,
    images_report,
    latency,
    latency_report,
    peer,
    peer_report,
    scaling,
    scaling_report,
    swarm,
    swarm_report,
    throughput,
    throughput_report,
)
from bench import swarm_simulation as simulation
from bench.process import REPOSITORY
from bench.report import Report, Wanted, wanted_table
from cached.kit.units import parse_bytes

PARTS = ("throughput", "peer", "latency", "volumes", "scaling", "images", "swarm", simulation.PART)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    options.results.mkdir(parents=True, exist_ok=True)
    figures: list[Wanted] = []
    for part in options.only or PARTS:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=options.work) as work:
            report = Report(part, options.results, Path(work))
            text, found = _measure(part, report, Path(work), options)
        print(f"{text}\n", flush=True)
        figures += found
    print(f"# Wanted and measured\n\n{wanted_table(figures)}")


def _measure(part: str, report: Report, work: Path, options: argparse.Namespace) -> tuple[str, list[Wanted]]:
    print(f"measuring {part}", file=sys.stderr)
    if part == "throughput":
        terms = throughput.Options(options.size, options.rounds, options.connections)
        return throughput_report.write(report, terms, list(throughput.run(work, terms)))
    if part == "peer":
        terms = throughput.Options(options.size, options.rounds, options.connections)
        return peer_report.write(report, terms, list(peer.run(work, terms)))
    if part == "latency":
        return latency_report.write(report, latency.run(work, options.calls, options.runs))
    if part == "volumes":
        volumes = csi.Terms(options.volumes, options.crowd)
        return csi_report.write(report, volumes, csi.run(work, volumes))
    if part == "images":
        pulls = images.Terms(options.image_size, options.rounds)
        return images_report.write(report, pulls, list(images.run(work, pulls)))
    if part == "swarm":
        cluster = swarm.Terms(options.nodes, options.swarm_size, options.link, options.rounds)
        return swarm_report.write(report, cluster, list(swarm.run(work, cluster)))
    if part == simulation.PART:
        return simulation.write(report, list(simulation.run()))
    return scaling_report.write(report, list(scaling.run(work, options.blobs, options.starts)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; may be given again")
    parser.add_argument(
        "--work",
        type=Path,
        help="a directory on the disk to measure (default: the system's for temporary files)",
    )
    parser.add_argument(
        "--results", type=Path, default=REPOSITORY / "bench" / "results", help="where results go"
    )
    parser.add_argument("--size", type=parse_bytes, default=4 << 30, help="of each model, such as 4GiB")
    parser.add_argument("--rounds", type=int, default=3, help="how often each client fetches each model")
    parser.add_argument("--connections", type=int, default=16, help="of each client")
    parser.add_argument(
        "--image-size", type=parse_bytes, default=2 << 30, help="of the one large layer, for images"
    )
    parser.add_argument("--nodes", type=int, default=16, help="for swarm")
    parser.add_argument(
        "--swarm-size",
        type=parse_bytes,
        default=256 << 20,
        help="of the model that all nodes want, for swarm",
    )
    parser.add_argument(
        "--link", type=parse_bytes, default=4_000_000, help="bytes per second of each link, for swarm"
    )
    parser.add_argument("--calls", type=int, default=3000, help="of each kind, for latency")
    parser.add_argument("--volumes", type=int, default=1000, help="of each kind, for volumes")
    parser.add_argument("--crowd", type=int, default=250, help="that are there already, for volumes")
    parser.add_argument("--runs", type=int, default=40, help="of cachectl, for latency")
    parser.add_argument(
        "--blobs", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="in the index, for scaling"
    )
    parser.add_argument("--starts", type=int, default=5, help="of the daemon at each size, for scaling")
    return parser


if __name__ == "__main__":
    main()
