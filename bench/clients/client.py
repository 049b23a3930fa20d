"""What all clients have in common."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from bench.disk import make_durable
from bench.origin import Offer, Origin
from bench.process import environment, measure


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch, and where its files lie.

    seconds: until the client said done. durable_seconds: until the bytes were on the disk. cpu: seconds of
    user and system, of all processes of the client. peak_rss: bytes resident at most, in its largest
    process; buffers: the part of them that was configured for bytes on their way, where it can be said.
    busy_cores: what the whole machine worked meanwhile, the server too.
    """

    path: Path
    seconds: float
    durable_seconds: float
    cpu: float
    peak_rss: int
    busy_cores: float
    buffers: int = 0


class Span:
    """Time that passes, and what the whole machine does in it, from now on."""

    def __init__(self) -> None:
        self._busy = _busy_seconds()
        self._began = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._began

    @property
    def busy_cores(self) -> float:
        return (_busy_seconds() - self._busy) / self.seconds


class Client(Protocol):
    """Fetches models."""

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        """Fetch a model, cold, into a new directory that is the client's own. Raises process.Failed."""
        ...


def fetch_by(command: Sequence[str], origin: Origin, into: Path) -> Fetch:
    """Run a program that writes a model's files into `into`, and count all that it took."""
    span = Span()
    usage = measure(command, environment(origin.credentials))
    make_durable(into)
    return Fetch(into, usage.seconds, span.seconds, usage.cpu, usage.peak_rss, span.busy_cores)


def _busy_seconds() -> float:
    """CPU seconds of all cores since the machine started."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)
