"""A connection of another member, as bytes: in plaintext or in TLS."""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any, Final

_LINGER: Final = 0.5  # seconds
_LEFT_OVER: Final = 64 << 10


class Channel:
    """One socket, used by one thread; `cut` and `close` may come from any.

    Whatever ends it shows as OSError, and what takes longer than `seconds` as TimeoutError.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()
        self._cut = False
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context: ssl.SSLContext, seconds: float) -> list[str]:
        """Shake hands as the server; returns the names of the certificate that the other end showed.

        From then on the channel is in TLS. Raises ssl.SSLError when the other end is not trusted.
        """
        with self._lock:  # `cut` must find the one socket or the other
            secured = context.wrap_socket(self._sock, server_side=True, do_handshake_on_connect=False)
            self._sock = secured
        secured.settimeout(seconds)
        secured.do_handshake()
        shown: dict[str, Any] = secured.getpeercert() or {}
        return [name for kind, name in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]

    def receive(self, most: int, seconds: float) -> bytes:
        """What comes next, `most` bytes at most; empty when the other end sends no more."""
        self._sock.settimeout(_some(seconds))
        return self._sock.recv(most)

    def send(self, data: bytes, seconds: float) -> None:
        self._sock.settimeout(_some(seconds))
        self._sock.sendall(data)

    def send_file(self, fd: int, offset: int, length: int, seconds: float) -> None:
        """Send these bytes of a file. A file that ends before them ends the connection."""
        if isinstance(self._sock, ssl.SSLSocket):
            while length:
                data = os.pread(fd, length, offset)
                if not data:
                    raise _Short()
                self.send(data, seconds)
                offset, length = offset + len(data), length - len(data)
        else:
            self._send_plain(fd, offset, length, time.monotonic() + seconds)

    def linger(self) -> None:
        """Say that no more comes, and wait a little until the other end has read it.

        Closing with bytes unread would take the last answer away from it.
        """
        end = time.monotonic() + _LINGER
        left = _LEFT_OVER
        self._shut(socket.SHUT_WR)
        while left > 0 and (seconds := end - time.monotonic()) > 0:
            self._sock.settimeout(_some(seconds))
            found = len(socket.socket.recv(self._sock, left))
            if not found:
                return
            left -= found

    def cut(self) -> None:
        """End whatever is under way, at once."""
        with self._lock, suppress(OSError):
            self._shut(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        with self._lock:
            self._sock.close()

    def _send_plain(self, fd: int, offset: int, length: int, end: float) -> None:
        self._sock.settimeout(0)
        while length:
            try:
                sent = os.sendfile(self._sock.fileno(), fd, offset, length)
            except BlockingIOError:
                self._await_room(end - time.monotonic())
                continue
            if not sent:
                raise _Short()
            offset, length = offset + sent, length - sent

    def _await_room(self, seconds: float) -> None:
        room = select.poll()
        room.register(self._sock.fileno(), select.POLLOUT)
        if seconds <= 0 or not room.poll(seconds * 1000):
            raise TimeoutError

    def _shut(self, how: int) -> None:
        socket.socket.shutdown(self._sock, how)  # TLS's own would pull its state from under a thread


class _Short(OSError):
    """The file is shorter than the blob: hands from outside."""


def _some(seconds: float) -> float:
    """A timeout that is over, but never 0: that would mean not to wait for TLS at all."""
    return max(seconds, 0.001)
