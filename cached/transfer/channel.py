"""One HTTP connection, kept between ranges."""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import Final

from cached import __version__
from cached.core.clock import Clock
from cached.transfer.address import Call, Endpoint
from cached.transfer.answer import Answer
from cached.transfer.options import TransferOptions
from cached.transfer.pace import Pace
from cached.transfer.retry import Failed
from cached.transfer.sealed import BLOCK, Sealed

_ERROR_BODY: Final = 8192  # bytes of an error's body that are read
_TICK: Final = 1.0  # seconds after which a receive that waits looks at the pace
_LOW_WATER: Final = 1 << 20  # bytes that a plaintext receive wakes for


class Stale(Exception):
    """A kept connection was closed by the server before it answered: no fault of anybody."""


class Channel:
    """A connection to one endpoint, for one GET at a time. Methods block; `cut` may come from any thread.

    Whatever goes wrong with the network is raised as Failed. After an error, or a body not taken to its
    end, the channel is not `reusable`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        connection: http.client.HTTPConnection,
        options: TransferOptions,
        clock: Clock,
    ) -> None:
        self._sealed = connection.sock if isinstance(connection.sock, Sealed) else None
        sock = self._sealed.socket if self._sealed else connection.sock
        assert isinstance(sock, socket.socket)
        self.endpoint = endpoint
        self.reusable = True
        self._connection = connection
        self._sock = sock
        # http.client closes its socket when it sees fit. This keeps the descriptor open until `close`,
        # so that `cut` cannot hit one that has become somebody else's.
        self._hold = sock.makefile("rb", buffering=0)
        self._options = options
        self._clock = clock
        self._response: http.client.HTTPResponse | None = None
        self._used = False
        self._cut = threading.Event()
        seconds, fraction = divmod(min(_TICK, options.stall_timeout), 1.0)
        tick = struct.pack("@ll", int(seconds), int(fraction * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, tick)

    def ask(self, call: Call, byte_range: tuple[int, int] | None) -> Answer:
        """Send a GET, of the first to the last byte given, and read the answer's head.

        Raises Stale when the server had closed the kept connection.
        """
        used, self._used = self._used, True
        self.reusable = False
        if used and _readable(self._sock):
            raise Stale
        self._sock.settimeout(self._options.stall_timeout)
        headers = {"User-Agent": f"cached/{__version__}", **call.headers}
        if byte_range is not None:
            headers["Range"] = f"bytes={byte_range[0]}-{byte_range[1]}"
        try:
            self._connection.request("GET", call.target, headers=headers)
            self._response = response = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as error:
            if used and not self._cut.is_set():
                raise Stale from None
            raise self._failed(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None
        if self._cut.is_set():  # http.client takes a head that breaks off for one that ends
            raise self._failed(ConnectionAbortedError())
        return Answer(
            response.status,
            {name.lower(): value for name, value in response.getheaders()},
            response.length,
            b"" if response.status in (200, 206) else self._read_error(response),
        )

    def fill(self, view: memoryview) -> None:
        """Receive the next `len(view)` bytes of the body."""
        assert self._response is not None
        pace = Pace(self._clock.monotonic(), self._options.stall_timeout, self._options.min_rate)
        try:
            # What the reader of the head had read ahead; after this its buffer is empty.
            ahead = len(self._response.fp.peek()[: len(view)])
            self._response.fp.readinto(view[:ahead])
            self._receive(view[ahead:], pace)
        except (OSError, http.client.HTTPException) as error:
            raise self._failed(error) from None

    def rest(self, seconds: float) -> None:
        """Leave the body alone for that long."""
        if self._cut.wait(seconds):  # what has come already could be received all the same
            raise self._failed(ConnectionAbortedError())

    def finish(self) -> None:
        """The body has been taken to its end: the connection may serve the next range."""
        assert self._response is not None
        self.reusable = not (self._response.will_close or self._cut.is_set())
        self._response.close()

    def cut(self) -> None:
        """Make whatever blocks return at once, with Failed. Harmless when nothing does."""
        self._cut.set()
        self.reusable = False
        with suppress(OSError):  # not connected any more
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection. Nothing else may be running on it."""
        if self._response is not None:
            self._response.close()
        self._connection.close()
        self._sock.close()
        self._hold.close()

    def _receive(self, view: memoryview, pace: Pace) -> None:
        """Fill `view` off the socket; one call waits in the kernel until much is there.

        It wakes at each tick though (SO_RCVTIMEO), and returns what has come by then.
        """
        # MSG_WAITALL works on a descriptor that blocks, which one with a timeout of Python's does not.
        self._sock.settimeout(None)
        # Waking for each packet costs a third of the CPU. A mark above what is still to come would never
        # be reached, so the last part of the body is received without one.
        bulk = max(0, len(view) - _LOW_WATER)
        if bulk:
            mark = BLOCK if self._sealed else _LOW_WATER
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)
            self._receive_all(view[:bulk], pace, _LOW_WATER)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
        self._receive_all(view[bulk:], pace, 0)

    def _receive_all(self, view: memoryview, pace: Pace, beyond: int) -> None:
        """`beyond` is how many bytes are to come after those of `view`."""
        while view:
            try:
                count = self._receive_some(view, beyond)
            except (BlockingIOError, TimeoutError):
                count = 0
            view = view[count:]
            pace.note(count, self._clock.monotonic())

    def _receive_some(self, view: memoryview, beyond: int) -> int:
        if self._sealed is None:
            count = self._sock.recv_into(view, len(view), socket.MSG_WAITALL)
            more = count > 0
        else:
            count = self._sealed.take(view)
            more = count > 0 or self._sealed.feed(len(view) + beyond)
        if not more and self._cut.is_set():
            raise ConnectionAbortedError
        if not more:
            raise Failed("short", f"it closed the connection {len(view)} bytes before the end")
        return count

    def _read_error(self, response: http.client.HTTPResponse) -> bytes:
        try:
            body = response.read(_ERROR_BODY)
        except (OSError, http.client.HTTPException):
            return b""  # the status has been said; that is enough
        if response.isclosed():
            self.finish()
        return body

    def _failed(self, error: OSError | http.client.HTTPException) -> Failed:
        if self._cut.is_set():
            return Failed("slow", "it took too long over all")
        if isinstance(error, TimeoutError):
            return Failed("stall", f"it sent nothing for {self._options.stall_timeout:g} s")
        if isinstance(error, ConnectionError):  # http.client.RemoteDisconnected is one too
            return Failed("reset", "it broke the connection off")
        if isinstance(error, ssl.SSLError):
            return Failed("tls", f"TLS failed: {error.reason or type(error).__name__}")
        if isinstance(error, OSError):
            return Failed("network", error.strerror or type(error).__name__)
        return Failed("protocol", f"it does not answer in HTTP: {type(error).__name__}")


def _readable(sock: socket.socket) -> bool:
    """Of an idle connection: the server has closed it, or speaks unasked."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
