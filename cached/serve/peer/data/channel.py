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
_INCOMING: Final = 32 << 10  # bytes of TLS taken off the socket at a time
_SEALED: Final = 96 << 10  # bytes sealed and sent at a time


class Channel:
    """One socket, used by one thread; `cut` and `close` may come from any.

    Whatever ends it shows as OSError, and what takes longer than `seconds` as TimeoutError. TLS is done in
    memory, and its records go out many at a time: SSLSocket would make a system call for every 16 KiB, which
    takes a sixth more CPU in all.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._coming = ssl.MemoryBIO()
        self._going = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        self._lock = threading.Lock()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def secure(self, context: ssl.SSLContext, seconds: float) -> list[str]:
        """Shake hands as the server; returns the names of the certificate that the other end showed.

        From then on the channel is in TLS. Raises ssl.SSLError when the other end is not trusted.
        """
        due = time.monotonic() + seconds
        self._tls = tls = context.wrap_bio(self._coming, self._going, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._feed(due):
                    raise ConnectionError from None
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush(due)  # says why
                raise
            else:
                self._flush(due)
                break
        shown: dict[str, Any] = tls.getpeercert() or {}
        return [name for kind, name in shown.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]

    def receive(self, most: int, seconds: float) -> bytes:
        """What comes next, `most` bytes at most; empty when the other end sends no more."""
        due = time.monotonic() + seconds
        if self._tls is None:
            return self._take(most, due)
        while True:
            try:
                return self._tls.read(most)
            except ssl.SSLWantReadError:
                if not self._feed(due):
                    return b""

    def send(self, data: bytes, seconds: float) -> None:
        due = time.monotonic() + seconds
        if self._tls is None:
            self._put(data, due)
        else:
            self._tls.write(data)
            self._flush(due)

    def send_file(self, fd: int, offset: int, length: int, seconds: float) -> None:
        """Send these bytes of a file. A file that ends before them ends the connection."""
        due = time.monotonic() + seconds
        end = offset + length
        while offset < end:
            if self._tls is None:
                sent = self._send_plain(fd, offset, end - offset, due)
            else:
                data = os.pread(fd, min(end - offset, _SEALED), offset)
                self._tls.write(data)
                self._flush(due)
                sent = len(data)
            if not sent:
                raise OSError("the file is shorter than the blob")
            offset += sent

    def linger(self) -> None:
        """Say that no more comes, and wait a little until the other end has read it.

        Closing with bytes unread would take the last answer away from it.
        """
        due = time.monotonic() + _LINGER
        left = _LEFT_OVER
        self._sock.shutdown(socket.SHUT_WR)
        while left > 0 and (found := self._take(left, due)):
            left -= len(found)

    def cut(self) -> None:
        """End whatever is under way, at once."""
        with self._lock, suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket. Idempotent."""
        with self._lock:
            self._sock.close()

    def _feed(self, due: float) -> bool:
        """Have more to decrypt; False when the other end sends no more."""
        self._flush(due)
        return self._coming.write(self._take(_INCOMING, due)) > 0

    def _flush(self, due: float) -> None:
        if self._going.pending:
            self._put(self._going.read(), due)

    def _take(self, most: int, due: float) -> bytes:
        self._sock.settimeout(_left(due))
        return self._sock.recv(most)

    def _put(self, data: bytes, due: float) -> None:
        self._sock.settimeout(_left(due))
        self._sock.sendall(data)

    def _send_plain(self, fd: int, offset: int, length: int, due: float) -> int:
        self._sock.settimeout(0)
        while True:
            try:
                return os.sendfile(self._sock.fileno(), fd, offset, length)
            except BlockingIOError:
                room = select.poll()
                room.register(self._sock.fileno(), select.POLLOUT)
                if not room.poll(_left(due) * 1000):
                    raise TimeoutError from None


def _left(due: float) -> float:
    """Seconds until `due`. Raises TimeoutError when it is past."""
    seconds = due - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds
