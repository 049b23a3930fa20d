"""How fast a model comes from a neighbouring node to the disk, and what that costs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench import disk, origin
from bench.clients.limit import DiskLimit
from bench.clients.neighbour import Neighbour
from bench.clients.s5cmd import S5cmd
from bench.model import write_model
from bench.origin import Offer
from bench.throughput import CALIBRATION, DISK_LIMIT, S5CMD, Entry, Options, Run, rounds

ENCRYPTED, PLAINTEXT = "cached, mutual TLS", "cached, plaintext"


def run(work: Path, options: Options) -> Iterator[Run]:
    """s5cmd reads from nginx what cached reads from another cached; as `throughput.run`."""
    shape = disk.best_shape(work, min(options.size, CALIBRATION))
    directory = work / "model"
    offer = Offer("model", directory, write_model(directory, options.size, 1))
    with origin.nginx(work / "nginx", [offer]) as server, ExitStack() as held:
        encrypted = Neighbour(work / "encrypted", options.connections, encrypted=True)
        plaintext = Neighbour(work / "plaintext", options.connections, encrypted=False)
        for neighbour in (encrypted, plaintext):
            held.enter_context(neighbour.holding(server, offer))
        entries = [
            Entry(ENCRYPTED, encrypted, offer),
            Entry(PLAINTEXT, plaintext, offer),
            Entry(S5CMD, S5cmd(options.connections), offer),
            Entry(DISK_LIMIT, DiskLimit(shape), offer),
        ]
        yield from rounds(work, server, work, "one file", entries, options)
    shutil.rmtree(work)
    work.mkdir()
