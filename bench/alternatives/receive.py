"""Receivers: each fills a buffer with one range of the blob."""

from __future__ import annotations

import http.client
import socket
import struct
from typing import Protocol
from urllib.parse import urlsplit

import urllib3

from bench.alternatives.variant import Receive

MIB = 1 << 20
TIMEOUT = 10.0
LOWAT = 1 * MIB
RCVBUF = 4 * MIB
PIECE = 1 * MIB


class Receiver(Protocol):
    """One connection, used by one thread."""

    def fetch(self, start: int, view: memoryview) -> None:
        """Fill all of `view` with the bytes from `start`, or raise."""


class Nothing:
    """Receives nothing: what is left is the disk's own limit."""

    def fetch(self, start: int, view: memoryview) -> None:
        del start, view


class TunedConnection(http.client.HTTPConnection):
    """A connection whose SO_RCVBUF is set before the handshake fixes the window."""

    def __init__(self, host: str, port: int, rcvbuf: int) -> None:
        super().__init__(host, port, timeout=TIMEOUT)
        self._rcvbuf = rcvbuf

    def connect(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if self._rcvbuf:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._rcvbuf)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seconds, fraction = divmod(TIMEOUT, 1)
        timeval = struct.pack("@ll", int(seconds), int(fraction * 1_000_000))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)
        sock.settimeout(TIMEOUT)
        sock.connect((self.host, self.port))
        self.sock = sock


class HttpClient:
    """Headers by http.client; the body by its readinto or by recv(MSG_WAITALL)."""

    def __init__(self, url: str, *, waitall: bool, lowat: int = 0, rcvbuf: int = 0) -> None:
        parts = urlsplit(url)
        self._path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._connection = TunedConnection(parts.hostname or "", parts.port or 80, rcvbuf)
        self._waitall = waitall
        self._lowat = lowat

    def fetch(self, start: int, view: memoryview) -> None:
        connection = self._connection
        if connection.sock is None:
            connection.connect()
        sock = connection.sock
        wanted = f"bytes={start}-{start + len(view) - 1}"
        connection.request("GET", self._path, headers={"Range": wanted})
        response = connection.getresponse()
        if response.status != http.client.PARTIAL_CONTENT or response.length != len(view):
            raise OSError(f"unexpected answer: {response.status}, {response.length} bytes")
        if self._waitall:
            # What the header reader had read ahead, plus one read. After it
            # nothing is left in http.client's buffer.
            got = response.fp.readinto1(view)
            sock.settimeout(None)  # MSG_WAITALL has no effect on a non-blocking fd
            self._paced(sock, view[got:], lambda part: _recv_exactly(sock, part))
            sock.settimeout(TIMEOUT)
            response.close()  # the body is consumed: the connection may be reused
        else:
            self._paced(sock, view, lambda part: _read_exactly(response, part))
            response.close()

    def _paced(self, sock: socket.socket, view: memoryview, fill: _Fill) -> None:
        """Fill `view`, waking only for LOWAT bytes while that much is to come.

        A low-water mark above what is left of the body would never be reached.
        """
        bulk = len(view) - self._lowat
        if self._lowat and bulk > 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, self._lowat)
            fill(view[:bulk])
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            view = view[bulk:]
        fill(view)


class _Fill(Protocol):
    def __call__(self, part: memoryview, /) -> None: ...


def _recv_exactly(sock: socket.socket, view: memoryview) -> None:
    while view:
        count = sock.recv_into(view, 0, socket.MSG_WAITALL)
        if count == 0:
            raise OSError(f"short body: {len(view)} bytes missing")
        view = view[count:]


def _read_exactly(response: http.client.HTTPResponse, view: memoryview) -> None:
    while view:
        count = response.readinto(view)
        if count == 0:
            raise OSError(f"short body: {len(view)} bytes missing")
        view = view[count:]


class Urllib3:
    """urllib3's stream: `readinto` in one call, or `read` in pieces."""

    def __init__(self, url: str, *, pieces: bool) -> None:
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)
        self._url = url
        self._pieces = pieces

    def fetch(self, start: int, view: memoryview) -> None:
        wanted = f"bytes={start}-{start + len(view) - 1}"
        response = self._pool.request("GET", self._url, headers={"Range": wanted}, preload_content=False)
        while view:
            if self._pieces:
                data = response.read(min(PIECE, len(view)))
                count = len(data)
                view[:count] = data
            else:
                count = response.readinto(view)
            if count == 0:
                raise OSError(f"short body: {len(view)} bytes missing")
            view = view[count:]
        response.release_conn()


def open_receiver(name: Receive, url: str) -> Receiver:
    """A receiver of its own for the calling thread."""
    if name == "none":
        return Nothing()
    if name.startswith("urllib3"):
        return Urllib3(url, pieces=name == "urllib3-read")
    return HttpClient(
        url,
        waitall=name.startswith("waitall"),
        lowat=LOWAT if "lowat" in name else 0,
        rcvbuf=RCVBUF if "rcvbuf" in name else 0,
    )
