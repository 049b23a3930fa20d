"""An HTTP server that fails as told: a proxy before a real server, or an origin of its own."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from tests.servers.faults import Fault, Seen, matches
from tests.servers.upstream import Answer, Forward, Upstream


class FaultyServer:
    """Serves at `host` while the `with` block does, a thread for each connection.

    Give it the endpoint of a server to stand before, or `Files`. A client of an S3 server signs for the
    host that it speaks to, so build its endpoint from `self.endpoint`; presigned URLs work likewise.
    Faults are asked in the order in which they were injected and the first that matches is the one.
    """

    def __init__(self, upstream: str | Upstream, host: str = "127.0.0.1") -> None:
        self._upstream = Forward(upstream) if isinstance(upstream, str) else upstream
        self._faults: list[tuple[Fault, list[int]]] = []
        self._seen: list[Seen] = []
        self._lock = threading.Lock()
        self.closing = threading.Event()
        self._server = _Server((host, 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="faulty-server")

    @property
    def endpoint(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def inject(self, fault: Fault) -> None:
        """Do wrong from now on, in the way that `fault` says."""
        with self._lock:
            self._faults.append((fault, [0]))

    def heal(self) -> None:
        """Forget all faults; answers under way keep theirs."""
        with self._lock:
            self._faults.clear()

    def requests(self, path: str = "*", method: str = "GET") -> list[Seen]:
        """Requests so far, oldest first; `path` is a glob on the decoded path."""
        wanted = Fault(path=path, method=method)
        with self._lock:
            return [seen for seen in self._seen if matches(wanted, seen)]

    def sent(self, path: str = "*") -> int:
        """Bytes of body that GETs were sent so far."""
        return sum(seen.sent for seen in self.requests(path))

    def forget(self) -> None:
        """Begin counting anew."""
        with self._lock:
            self._seen.clear()

    def admit(self, seen: Seen) -> Fault:
        """Note a request; returns what to do to it, which may be nothing."""
        with self._lock:
            self._seen.append(seen)
            for fault, count in self._faults:
                if matches(fault, seen) and (fault.times is None or count[0] < fault.skip + fault.times):
                    count[0] += 1
                    if count[0] > fault.skip:
                        return fault
        return Fault()

    def ask(self, fault: Fault, seen: Seen, target: str, body: bytes) -> Answer:
        """The answer as spoiled as can be said in its head."""
        if fault.before:
            fault.before()
        if fault.status:
            answer = Answer(fault.status, {}, 0, iter(()))
        else:
            headers = {name: value for name, value in seen.headers.items() if name not in fault.forget}
            answer = self._upstream.answer(seen.method, target, headers, body)
        if fault.headers:
            new = {name.lower() for name in fault.headers}
            answer.headers = {k: v for k, v in answer.headers.items() if k.lower() not in new} | dict(
                fault.headers
            )
        return answer

    def spoil(self, fault: Fault, body: Iterator[bytes]) -> Iterator[bytes]:
        """The body as `fault` would have it. Raises ConnectionAbortedError where it is to be cut."""
        done = 0
        marks = sorted(mark for mark in (fault.cut, fault.stall) if mark is not None)
        for block in body:
            for piece in _pieces(block, done, marks, 1 << 14 if fault.rate else len(block)):
                self._wait_or_cut(fault, done)
                if fault.flip is not None and done <= fault.flip < done + len(piece):
                    at = fault.flip - done
                    piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
                yield piece
                done += len(piece)
                if fault.rate:
                    self._sleep(len(piece) / fault.rate)
        self._wait_or_cut(fault, done)

    def _wait_or_cut(self, fault: Fault, done: int) -> None:
        if fault.stall == done:
            self._sleep(fault.pause)
        if fault.cut == done:
            raise ConnectionAbortedError("cut, as told")

    def _sleep(self, seconds: float) -> None:
        if self.closing.wait(seconds):
            raise ConnectionAbortedError("the server is closing")


def _pieces(block: bytes, done: int, marks: list[int], longest: int) -> Iterator[bytes]:
    """Cut `block`, which begins at byte `done`, at each mark and wherever it would be over `longest`."""
    start = 0
    while start < len(block):
        ends = [mark - done for mark in marks if start < mark - done < len(block)]
        end = min([start + longest, len(block), *ends])
        yield block[start:end]
        start = end


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], owner: FaultyServer) -> None:
        super().__init__(address, _Handler)
        self.owner = owner
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._open_lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._open_lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._open_lock:
            for each in self._open:
                with suppress(OSError):  # its client has left already
                    each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients may leave at any time; that is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _handle(self) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        seen = Seen(self.command, unquote(urlsplit(self.path).path), headers)
        fault = owner.admit(seen)
        if fault.hang_up:
            self._abort()
            return
        try:
            answer = owner.ask(fault, seen, self.path, body)
        except Exception as error:
            said = repr(error).encode()
            answer = Answer(502 if isinstance(error, OSError) else 500, {}, len(said), iter([said]))
        seen.status = answer.status
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        try:
            for piece in owner.spoil(fault, answer.body) if self.command != "HEAD" else ():
                seen.sent += len(piece)  # first, or the client may look before it is counted
                self.wfile.write(piece)
        except OSError:
            self._abort()
        finally:
            if close := getattr(answer.body, "close", None):
                close()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _abort(self) -> None:
        """Reset rather than close, so that the other end cannot take what it has for all."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are kept, not printed."""
