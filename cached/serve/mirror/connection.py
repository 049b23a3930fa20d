"""One connection of a puller."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from cached.serve.mirror.refusal import Refusal
from cached.serve.mirror.reply import JSON, OWN

if TYPE_CHECKING:
    from cached.serve.mirror.crowd import Crowd

log = logging.getLogger(__name__)

_LONGEST_FIELD: Final = 16 << 10  # bytes: tokens of some registries are long
_MALFORMED: Final = Refusal(400, "UNSUPPORTED", "not a request of HTTP/1.1")
_LINGER: Final = 1.0  # seconds that are spent on what follows a refused request


class Connection(web.RequestHandler):
    """aiohttp's protocol of one connection, with its place in the crowd.

    number: its name between this process and the guard. idle_since: monotonic seconds, None at work.
    """

    __slots__ = ("_crowd", "idle_since", "number", "socket")

    socket: TransportSocket

    def __init__(self, server: web.Server, number: int, crowd: Crowd, idle: float) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=idle,
            logger=log,
            access_log=None,  # type: ignore[arg-type]  # as aiohttp's documentation has it
            max_line_size=_LONGEST_FIELD,
            max_field_size=_LONGEST_FIELD,
            lingering_time=_LINGER,
        )
        self._crowd = crowd
        self.number = number
        self.idle_since: float | None = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.socket = transport.get_extra_info("socket")
        transport.set_write_buffer_limits(high=0)  # drain() returns when nothing is left in the buffer
        super().connection_made(transport)
        self._crowd.admit(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        # The guard has the socket, too: closing it here would not end the connection.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        super().connection_lost(exc)
        self._crowd.leave(self)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For as long as a request is being answered."""
        self.idle_since = None
        self._crowd.working += 1
        try:
            yield
        finally:
            self._crowd.working -= 1
            self.idle_since = time.monotonic()
            self._crowd.look()

    def finish(self) -> None:
        """End it after the answer that is under way."""
        if self.idle_since is None:
            self.close()
        else:
            self.force_close()

    def cut(self) -> None:
        """End it at once. What is in the socket still goes out, and then the end.

        It is no reset: containerd goes on where a blob ended too early, but gives up when it was reset.
        """
        if self.transport is not None:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request of HTTP; nothing else should end here."""
        if request.writer.output_size > 0:
            raise ConnectionError
        if isinstance(exc, HttpProcessingError):
            log.debug("What came is no request.", extra={"error": message})
        else:
            log.error("a request of a puller failed on a bug", exc_info=exc)
        self._crowd.malformed()
        headers = OWN | {"Content-Type": JSON}
        response = web.Response(status=_MALFORMED.status, headers=headers, body=_MALFORMED.body)
        response.force_close()
        return response
