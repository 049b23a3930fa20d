"""cached that fetches from a neighbour: a daemon with an empty data directory beside one that has it all."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.clients.client import Fetch, Span
from bench.daemon import CACHECTL, Daemon
from bench.disk import MIB, make_durable
from bench.origin import BUCKET, REGION, Offer, Origin
from bench.process import Failed, environment, measure
from cached.client.operator import OperatorClient
from tests.peers.ca import issue, make_ca
from tests.servers.ports import free_ports

_BUFFER = 8 * MIB
_SPARE_BUFFERS = 8
# Who has just started may not know yet who the others are: a node of a cluster has been up for longer.
_SETTLE_SECONDS = 4.0


class Neighbour:
    """Time and CPU are those of the daemon that fetches and cachectl; the other daemon is the server."""

    def __init__(self, home: Path, connections: int, *, encrypted: bool) -> None:
        """`home`: a new directory for the data of the daemon that has the model."""
        home.mkdir()
        self._home = home
        self._connections = connections
        self._tls: dict[str, str] | None = None
        if encrypted:
            files = issue(make_ca(home / "ca"), home / "ca", host="127.0.0.1")
            self._tls = {"ca": str(files.ca), "cert": str(files.cert), "key": str(files.key)}
        ports = free_ports(4)
        self._addresses = [f"127.0.0.1:{port}" for port in ports[:2]]
        self._data_ports = ports[2:]

    @contextmanager
    def holding(self, origin: Origin, offer: Offer) -> Iterator[None]:
        """Have the model at the other daemon, and that one up, while the block runs."""
        with Daemon(self._home / "root", self._settings(origin, 0), origin.credentials) as daemon:
            _get(daemon, offer)
            yield

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        """Within `holding`. Raises Failed when any byte came from the source."""
        into.mkdir()
        with Daemon(into / "root", self._settings(origin, 1), origin.credentials) as daemon:
            time.sleep(_SETTLE_SECONDS)
            before, span = daemon.cpu(), Span()
            path, seconds, cpu = _get(daemon, offer)
            make_durable(path)
            fetch = Fetch(
                path=path,
                seconds=seconds,
                durable_seconds=span.seconds,
                cpu=cpu + daemon.cpu() - before,
                peak_rss=daemon.peak_rss(),
                busy_cores=span.busy_cores,
                buffers=(self._connections + _SPARE_BUFFERS) * _BUFFER,
            )
            with OperatorClient(daemon.operators) as client:
                received = sum(peer.received_bytes for peer in client.peers().peers)
            if received != sum(file.size for file in offer.files):
                raise Failed(f"only {received} bytes came from the neighbour")
            return fetch

    def _settings(self, origin: Origin, number: int) -> dict[str, Any]:
        s3 = {"endpoint": origin.endpoint, "region": REGION, "addressing": "path"}
        peers: dict[str, Any] = {
            "advertise": self._addresses[number],
            "data_port": self._data_ports[number],
            "members": {"static": self._addresses},
            "plaintext": self._tls is None,
        }
        if self._tls is not None:
            peers["tls"] = self._tls
        return {
            "transfer": {"connections": self._connections, "spare_buffers": _SPARE_BUFFERS},
            "sources": {"s3": {**s3, "anonymous": origin.anonymous}},
            "peers": peers,
        }


def _get(daemon: Daemon, offer: Offer) -> tuple[Path, float, float]:
    """Where the model is; seconds and CPU seconds that cachectl took."""
    ref = f"s3://{BUCKET}/{offer.model}"
    get = [str(CACHECTL), "get", "--quiet", "--address", daemon.address, ref]
    usage = measure(get, environment({}))
    return Path(usage.stdout.strip()), usage.seconds, usage.cpu
