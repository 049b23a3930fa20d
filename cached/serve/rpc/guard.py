"""What stands around every handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import Message

from cached.serve.rpc.refusal import Refuse
from cached.telemetry.metrics import Metrics

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = Callable[[Any, Context], Awaitable[Message | None]]


class Guard:
    """Turns errors into statuses, counts the calls, and knows when none is under way.

    A plain closure around each handler: an interceptor of grpc does the same at a higher price per call.
    """

    def __init__(self, metrics: Metrics, refuse: Refuse) -> None:
        """`refuse` says an error on the face's wire."""
        self._rpcs = metrics.rpcs
        self._refuse = refuse
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def around(self, method: str, handler: Handler) -> Handler:
        """Guard one handler. An async function that writes its answers, or returns the only one.

        An error after some answers ends the stream with its status just the same. A caller that goes
        away cancels its own handler, which passes the cancellation on.
        """
        well = self._rpcs.labels(method, grpc.StatusCode.OK.name)

        async def guarded(request: Any, context: Context) -> Message | None:
            self._running += 1
            self._idle.clear()
            try:
                answer = await handler(request, context)
            except asyncio.CancelledError:
                self._rpcs.labels(method, grpc.StatusCode.CANCELLED.name).inc()
                raise
            except Exception as error:
                refused = self._refuse(error, method)
                self._rpcs.labels(method, refused.code.name).inc()
                await context.abort(refused.code, refused.text, refused.metadata)
            finally:
                self._running -= 1
                if not self._running:
                    self._idle.set()
            well.inc()
            return answer

        return guarded

    async def idle(self) -> None:
        """Return once no call is under way."""
        await self._idle.wait()
