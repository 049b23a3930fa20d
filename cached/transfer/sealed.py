"""TLS over a socket, taken off it in large blocks."""

from __future__ import annotations

import errno
import io
import socket
import ssl
from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BLOCK: Final = 1 << 17  # bytes per system call
_RECORD: Final = 1 << 15  # more than OpenSSL may hold of a record that is not whole yet


class Sealed:
    """The end of a TLS connection. `ssl.SSLSocket` would make two system calls for every 16 KiB.

    Has what http.client wants of a socket, but for `close`: the socket beneath is its owner's to close.
    Methods block as that socket does.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, name: str) -> None:
        """Shake hands; the certificate of the other end must carry `name`. Raises OSError."""
        self.socket = sock
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ended = False  # the other end has said so
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self._shake_hands()

    def sendall(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def makefile(self, mode: str) -> io.BufferedReader:
        """For the reader of the head."""
        assert mode == "rb"
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """http.client closes when it sees fit, and others may still read."""

    def recv_into(self, view: memoryview) -> int:
        """Wait for at least a byte; 0 at the end."""
        while not (count := self.take(view)):
            if not self.feed(0):
                break
        return count

    def take(self, view: memoryview) -> int:
        """Decrypt what has come until `view` is full or no whole record is left; returns how many bytes."""
        done = 0
        try:
            while done < len(view):
                count = cast("int", self._tls.read(len(view) - done, view[done:]))
                if count == 0:
                    self._ended = True
                    break
                done += count
        except ssl.SSLWantReadError:
            pass
        return done

    def feed(self, left: int) -> bool:
        """Wait for more to decrypt; False at the end. `left` is how many bytes are sure to come."""
        if self._ended:
            return False
        self._flush()
        sure = left - _RECORD
        block = bytearray(min(BLOCK, sure) if sure > 0 else _RECORD)
        count = self.socket.recv_into(block, len(block), socket.MSG_WAITALL if sure > 0 else 0)
        self._incoming.write(memoryview(block)[:count])
        return count > 0

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self.feed(0):
                    raise ConnectionResetError(errno.ECONNRESET, "closed in the handshake") from None
            except ssl.SSLError:
                self._flush()  # why, for the other end's log
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.socket.sendall(self._outgoing.read())


class _Reader(io.RawIOBase):
    def __init__(self, sealed: Sealed) -> None:
        self._sealed = sealed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._sealed.recv_into(memoryview(buffer).cast("B"))
