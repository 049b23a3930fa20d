"""cached itself: a daemon with an empty data directory, asked by cachectl."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.clients.client import Fetch, Span
from bench.daemon import CACHECTL, Daemon
from bench.disk import MIB, make_durable
from bench.origin import BUCKET, REGION, Offer, Origin
from bench.process import environment, measure

_BUFFER = 8 * MIB
_SPARE_BUFFERS = 8


class Cached:
    """Time and CPU are those of daemon and cachectl together, once the daemon serves."""

    def __init__(self, connections: int) -> None:
        self._connections = connections

    def fetch(self, origin: Origin, offer: Offer, into: Path) -> Fetch:
        into.mkdir()
        ref = f"s3://{BUCKET}/{offer.model}"
        with Daemon(into / "root", self._settings(origin), origin.credentials) as daemon:
            before, span = daemon.cpu(), Span()
            get = [str(CACHECTL), "get", "--quiet", "--address", daemon.address, ref]
            usage = measure(get, environment({}))
            path = Path(usage.stdout.strip())
            make_durable(path)
            return Fetch(
                path=path,
                seconds=usage.seconds,
                durable_seconds=span.seconds,
                cpu=usage.cpu + daemon.cpu() - before,
                peak_rss=daemon.peak_rss(),
                busy_cores=span.busy_cores,
                buffers=(self._connections + _SPARE_BUFFERS) * _BUFFER,
            )

    def _settings(self, origin: Origin) -> dict[str, Any]:
        s3 = {"endpoint": origin.endpoint, "region": REGION, "addressing": "path"}
        return {
            "transfer": {"connections": self._connections, "spare_buffers": _SPARE_BUFFERS},
            "sources": {"s3": {**s3, "anonymous": origin.anonymous}},
        }
