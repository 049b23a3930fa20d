"""How fast a model comes from a server to the disk, and what that costs."""

from __future__ import annotations

import hashlib
import os
import shutil
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import disk, origin
from bench.clients.boto import Boto
from bench.clients.cached import Cached
from bench.clients.client import Client
from bench.clients.crt import Crt
from bench.clients.limit import DiskLimit
from bench.clients.s5cmd import S5cmd
from bench.disk import MIB, WriteShape
from bench.model import write_model
from bench.origin import Offer, Origin

CACHED = "cached, SHA-256"
CACHED_CRC = "cached, CRC-64"
S5CMD = "s5cmd"
DISK_LIMIT = "disk limit"
SHARDS = 30
_READ = 4 * MIB
CALIBRATION = 1 << 30


@dataclass(frozen=True, slots=True)
class Options:
    """size: bytes of each model. rounds: how often each client fetches it. connections: of each client."""

    size: int = 4 << 30
    rounds: int = 3
    connections: int = 16


@dataclass(frozen=True, slots=True)
class Run:
    """One client in one round; as Fetch, and the cores that the whole machine had busy meanwhile."""

    origin: str
    model: str
    client: str
    round: int
    size: int
    seconds: float
    durable_seconds: float
    cpu: float
    peak_rss: int
    buffers: int
    busy_cores: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A client, what it is called, and what it fetches."""

    label: str
    client: Client
    offer: Offer


def run(work: Path, options: Options) -> Iterator[Run]:
    """Measure everything, below the directory `work`. Raises process.Failed; ValueError for wrong bytes."""
    shape = disk.best_shape(work, min(options.size, CALIBRATION))
    for name, shards in (("one file", 1), (f"{SHARDS} shards", SHARDS)):
        directory = work / "model"
        files = write_model(directory, options.size, shards)
        plain, stated = Offer("model", directory, files), Offer("model-sha256", directory, files, "sha256")
        with_crc = Offer("model-crc64nvme", directory, files, "crc64nvme")
        with origin.nginx(work / "nginx", [plain, stated, with_crc]) as server:
            entries = [
                Entry(CACHED, Cached(options.connections), stated),
                Entry(CACHED_CRC, Cached(options.connections), with_crc),
                *_others(options.connections, shape, plain),
            ]
            yield from rounds(work, server, directory, name, entries, options)
        shutil.rmtree(work / "nginx")
        if shards > 1:
            with origin.seaweedfs(work / "seaweedfs", [plain]) as server:
                entries = [Entry(CACHED, Cached(options.connections), plain)]
                entries += _others(options.connections, shape, plain)
                yield from rounds(work, server, work / "seaweedfs", name, entries, options)
            shutil.rmtree(work / "seaweedfs")
        shutil.rmtree(directory)


def _others(connections: int, shape: WriteShape, offer: Offer) -> list[Entry]:
    clients: dict[str, Client] = {S5CMD: S5cmd(connections), "boto3": Boto(connections)}
    clients |= {"AWS CRT": Crt(connections), DISK_LIMIT: DiskLimit(shape)}
    return [Entry(label, client, offer) for label, client in clients.items()]


def rounds(
    work: Path, server: Origin, served: Path, model: str, entries: list[Entry], options: Options
) -> Iterator[Run]:
    """All entries in turn; each round begins with another one."""
    into = work / "into"
    for number in range(options.rounds):
        first = number % len(entries)
        for entry in entries[first:] + entries[:first]:
            _read(served)
            disk.settle()
            done = entry.client.fetch(server, entry.offer, into)
            if number == 0 and entry.label != DISK_LIMIT:
                _check(entry.offer, done.path)
            _delete(into)
            yield Run(
                origin=server.name,
                model=model,
                client=entry.label,
                round=number,
                size=options.size,
                seconds=done.seconds,
                durable_seconds=done.durable_seconds,
                cpu=done.cpu,
                peak_rss=done.peak_rss,
                buffers=done.buffers,
                busy_cores=done.busy_cores,
            )


def _read(directory: Path) -> None:
    """Bring what is served into the page cache, so that the server does not read the disk meanwhile."""
    buffer = bytearray(_READ)
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def _check(offer: Offer, path: Path) -> None:
    for file in offer.files:
        with (path / file.name).open("rb") as copy:
            digest = hashlib.file_digest(copy, "sha256").digest()
        if b64encode(digest).decode() != file.sha256:
            raise ValueError(f"{path / file.name} is not what the server has")


def _delete(directory: Path) -> None:
    """A tree that cached published is read-only."""
    for each, _, _ in os.walk(directory):
        os.chmod(each, 0o700)
    shutil.rmtree(directory)
