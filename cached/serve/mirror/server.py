"""A read-only registry for the runtime of this node."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Final

from aiohttp import web

from cached.engine.images.views import ImageSource
from cached.kit.pool import Pool
from cached.serve.mirror.connection import Connection
from cached.serve.mirror.crowd import Crowd
from cached.serve.mirror.desk import Desk
from cached.serve.mirror.door import Door
from cached.serve.mirror.face import Face
from cached.serve.mirror.options import MirrorOptions
from cached.serve.mirror.traffic import Traffic
from cached.telemetry.metrics import Metrics

__all__ = ["MirrorOptions", "MirrorServer"]

log = logging.getLogger(__name__)

_LEAVE: Final = 2.0  # seconds for those that were cut off to let go of the engine


class MirrorServer:
    """Serves what an ImageSource has, by the pull part of the OCI distribution API.

    A guard accepts (see there). Parsing is aiohttp's, on the event loop; the bytes of blobs go from file to
    socket in threads. Whatever goes wrong is a quick 404, or a connection cut short: a runtime goes on to
    the registry itself then.
    """

    def __init__(self, listen: str, images: ImageSource, metrics: Metrics, options: MirrorOptions) -> None:
        """listen: host:port, where 0 is any port."""
        self._listen = listen
        self._options = options
        self._pool = Pool("mirror", options.senders)
        traffic = Traffic(options.stall, options.trouble)
        self._desk = Desk(Face(images, traffic, options), traffic, self._pool, metrics, options)
        bad = metrics.mirror_requests.labels(kind="other", code="400")
        self._crowd = Crowd(options.connections, self._ended, bad.inc)
        self._door = Door(listen, options.wedged, self._admit, self._crowd.finish, metrics)
        self._adopting: set[asyncio.Task[object]] = set()

    async def start(self) -> int:
        """Begin to serve; returns the port. Raises Busy or NotConfigured, naming the address."""
        self._server = web.Server(self._desk.serve, handler_cancellation=True)
        port = await self._door.open()
        log.info("listening", extra={"mirror": self._listen, "port": port})
        return port

    async def stop(self, grace: float) -> None:
        """Take no new connection, give those at work `grace` seconds, cut off the rest.

        Returns when all have left the ImageSource, or after two more seconds. May be called again, with less
        grace, and also when it was never started.
        """
        await self._door.close()
        if self._adopting:
            await asyncio.wait(self._adopting)
        self._crowd.finish()
        if not await self._crowd.quiet(grace):
            log.warning("pullers are cut off at the end of the grace")
            self._crowd.cut()
            if not await self._crowd.quiet(_LEAVE):
                log.error("a request of a puller does not end")
        self._pool.close()

    def _admit(self, sock: socket.socket, number: int) -> None:
        loop = asyncio.get_running_loop()

        def connection() -> Connection:
            return Connection(self._server, number, self._crowd, self._options.idle)

        def adopted(task: asyncio.Task[object]) -> None:
            self._adopting.discard(task)
            if task.cancelled() or task.exception() is not None:
                sock.close()
                self._ended(number)

        task: asyncio.Task[object] = loop.create_task(loop.connect_accepted_socket(connection, sock))
        self._adopting.add(task)
        task.add_done_callback(adopted)

    def _ended(self, number: int) -> None:
        self._door.ended(number)
