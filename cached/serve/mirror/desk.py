"""Where requests come in and answers go out."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Final

from aiohttp import web

from cached.core.digest import Digest
from cached.core.errors import CachedError, DiskFault
from cached.kit.pool import Pool
from cached.serve.mirror.connection import Connection
from cached.serve.mirror.face import Face
from cached.serve.mirror.options import MirrorOptions
from cached.serve.mirror.outlet import Outlet, SlowPuller
from cached.serve.mirror.pouring import Stalled, pour
from cached.serve.mirror.refusal import Refusal, refusal
from cached.serve.mirror.reply import OWN, Body, Reply
from cached.serve.mirror.target import UNKNOWN, Target, read_path
from cached.serve.mirror.traffic import Traffic
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_LEFT: Final = "499"  # as nginx has it: the puller left before there was an answer


class Desk:
    """Every answer begins in time, or is a refusal; once begun it ends whole, or its connection is cut."""

    def __init__(
        self, face: Face, traffic: Traffic, pool: Pool, metrics: Metrics, options: MirrorOptions
    ) -> None:
        self._face = face
        self._traffic = traffic
        self._pool = pool
        self._metrics = metrics
        self._options = options

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, all of it. Cancelled, as when the puller leaves, it frees all at once."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        target = read_path(request.rel_url.raw_path)
        with connection.at_work():
            async with AsyncExitStack() as stack:
                code = _LEFT
                try:
                    reply, outlet = await self._reply(request, connection, target, stack)
                    code = str(reply.status)
                finally:
                    self._metrics.mirror_requests.labels(kind=target.kind, code=code).inc()
                if outlet is None:
                    return await self._say(request, connection, reply)
                return await self._stream(request, connection, reply, outlet)

    async def _reply(
        self, request: web.BaseRequest, connection: Connection, target: Target, stack: AsyncExitStack
    ) -> tuple[Reply, Outlet | None]:
        """What to answer in time, whatever happens; with an outlet, for bytes of a blob."""
        try:
            async with asyncio.timeout(self._options.answer):
                reply = await self._face.reply(request, target, stack)
            if not reply.can_be_sent:
                raise _unfit()
            if not isinstance(reply.body, Body):
                return reply, None
            outlet = self._outlet(connection)
            stack.callback(outlet.close)
        except TimeoutError:
            late = Refusal(404, "UNAVAILABLE", f"no answer within {self._options.answer:g} s")
            return Reply.of(late), None
        except Exception as error:
            refused = Reply.of(refusal(error, UNKNOWN.get(target.kind, "NAME_UNKNOWN")))
            return (refused if refused.can_be_sent else Reply.of(_unfit())), None
        return reply, outlet

    def _outlet(self, connection: Connection) -> Outlet:
        return Outlet(
            connection.socket,
            self._pool,
            stall=self._options.stall,
            slow=self._options.slow,
            told=self._metrics.mirror_sent.inc,
        )

    async def _say(
        self, request: web.BaseRequest, connection: Connection, reply: Reply
    ) -> web.StreamResponse:
        assert isinstance(reply.body, bytes)
        response = web.Response(status=reply.status, headers={**OWN, **reply.headers}, body=reply.body)
        try:
            async with asyncio.timeout(self._options.stall):
                await response.prepare(request)
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            connection.cut()
        return response

    async def _stream(
        self, request: web.BaseRequest, connection: Connection, reply: Reply, outlet: Outlet
    ) -> web.StreamResponse:
        body = reply.body
        assert isinstance(body, Body)
        response = web.StreamResponse(status=reply.status, headers={**OWN, **reply.headers})
        try:
            with self._metrics.mirror_streams.track_inprogress():
                await self._flush(request, response)
                await pour(body, outlet, self._traffic, self._options.stall)
                await response.write_eof()
        except ConnectionError:  # the puller has gone
            connection.cut()
        except Exception as error:
            self._cut(connection, body.blob, error)
        return response

    async def _flush(self, request: web.BaseRequest, response: web.StreamResponse) -> None:
        """Send the head, and return when the connection's own buffer is empty: the bytes pass it by."""
        writer = await response.prepare(request)
        assert writer is not None
        writer.send_headers()
        try:
            async with asyncio.timeout(self._options.slow):
                await writer.drain()
        except TimeoutError:
            raise SlowPuller from None

    def _cut(self, connection: Connection, blob: Digest, error: Exception) -> None:
        """End the connection short of what was promised, so that the puller asks elsewhere for the rest."""
        connection.cut()
        reason = {SlowPuller: "slow", Stalled: "stall"}.get(type(error), "error")
        self._metrics.mirror_aborted.labels(reason=reason).inc()
        if reason != "slow":
            now = asyncio.get_running_loop().time()
            self._traffic.upset(blob, now, unreadable=isinstance(error, DiskFault))
        log.warning(
            "A blob was cut off on its way to a puller.",
            exc_info=error if reason == "error" and not isinstance(error, CachedError) else None,
            extra={"blob": blob, "reason": reason, "error": str(error)},
        )


def _unfit() -> Refusal:
    return Refusal(404, "UNAVAILABLE", "the registry's answer is not fit to be passed on")
