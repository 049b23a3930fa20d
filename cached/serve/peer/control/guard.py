"""What stands around every call of a member."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

import grpc

from cached.core.errors import Busy, Draining
from cached.serve.peer.control.caller import Context, host_of
from cached.serve.peer.control.refusal import Refusal, refusal
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

Handler: TypeAlias = Callable[[Any, Context], Awaitable[bytes | None]]

# A member has a stream or two for each tree that both have to do with.
_MOST_PER_HOST: Final = 4096
_MOST_NAMED: Final = 1000  # strangers that the log names


class Guard:
    """Bounds the calls of a host, counts them, and turns what ends them into statuses."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._hosts: Counter[object] = Counter()
        self._strangers: set[object] = set()
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def streams(self) -> int:
        """Open now."""
        return self._hosts.total()

    def drain(self) -> None:
        """Turn all newcomers away."""
        self._draining = True

    async def idle(self, seconds: float) -> None:
        """Return once no stream is open, or after so long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()

    def around(self, method: str, handler: Handler) -> Handler:
        """Guard one handler, of a stream or of one message. A caller that goes away cancels its own."""

        async def guarded(request: Any, context: Context) -> bytes | None:
            host = host_of(context)
            self._hosts[host] += 1
            self._idle.clear()
            try:
                if self._draining:
                    raise Draining("this node is stopping")
                if self._hosts[host] > _MOST_PER_HOST:
                    raise Busy(f"{_MOST_PER_HOST} streams of {host} are open already")
                answer = await handler(request, context)
            except asyncio.CancelledError:
                self._count(method, grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:
                refused = refusal(error, method)
                self._count(method, refused.code)
                self._tell(host, refused)
                await context.abort(refused.code, refused.text)
            finally:
                self._hosts[host] -= 1
                if not self._hosts[host]:
                    del self._hosts[host]
                if not self._hosts:
                    self._idle.set()
            self._count(method, grpc.StatusCode.OK)
            return answer

        return guarded

    def _tell(self, host: object, refused: Refusal) -> None:
        """Count it; a host that is not believed is for operators to see, the first time."""
        if not refused.reason:
            return
        self._metrics.peer_refused.labels(reason=refused.reason).inc()
        level = logging.DEBUG
        if refused.reason == "identity" and len(self._strangers) < _MOST_NAMED:
            level = logging.DEBUG if host in self._strangers else logging.WARNING
            self._strangers.add(host)
        log.log(level, "a caller is turned away", extra={"peer": str(host), "reason": refused.text})

    def _count(self, method: str, code: grpc.StatusCode) -> None:
        self._metrics.rpcs.labels(method, code.name).inc()
