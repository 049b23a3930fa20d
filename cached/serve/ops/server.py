"""`/metrics` for Prometheus, `/healthz` and `/readyz` for probes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

from cached.core.errors import NotConfigured
from cached.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

log = logging.getLogger(__name__)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 16


class _Handler(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        log.debug("HTTP request", extra={"request": format % args})


class OpsServer:
    """A small HTTP server in threads of its own: it answers also when the event loop is busy.

    `/healthz` says 200 while the event loop turns; `/readyz` says 200 while the daemon serves; else 503.
    """

    def __init__(
        self, address: str, metrics: Metrics, alive: Callable[[], bool], ready: Callable[[], bool]
    ) -> None:
        self._address = address
        self._alive = alive
        self._ready = ready
        self._metrics_app = make_wsgi_app(metrics.registry)

    def start(self) -> int:
        """Begin to serve; returns the port. Raises NotConfigured when the address cannot be had."""
        host, _, port = self._address.rpartition(":")
        try:
            self._server = make_server(host.strip("[]"), int(port), self._answer, _Server, _Handler)
        except OSError as error:
            raise NotConfigured(
                f"cannot serve metrics on {self._address}: {error.strerror or error}",
                hint="set metrics to a free host:port, or leave it unset",
            ) from None
        self._thread = threading.Thread(target=self._server.serve_forever, name="cached-ops", daemon=True)
        self._thread.start()
        return self._server.server_port

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _plain(start, "405 Method Not Allowed", "only GET here\n")
        if path == "/metrics":
            answer: Iterable[bytes] = self._metrics_app(environ, start)
            return answer
        if path == "/healthz":
            if self._alive():
                return _plain(start, "200 OK", "alive\n")
            return _plain(start, "503 Service Unavailable", "the event loop hangs\n")
        if path == "/readyz":
            if self._ready():
                return _plain(start, "200 OK", "serving\n")
            return _plain(start, "503 Service Unavailable", "not serving\n")
        return _plain(start, "404 Not Found", "here are /metrics, /healthz and /readyz\n")


def _plain(start: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))])
    return [text.encode()]
