"""A stream that this node opened."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Generic, TypeVar

import grpc

from cached.peers.channels import Channels
from cached.peers.outbox import Outbox, TooSlow
from cached.peers.wire import Malformed

log = logging.getLogger(__name__)

Out = TypeVar("Out")
In = TypeVar("In")

TAKES_PART: Final = "cached-takes-part"
"""In the initial metadata of whoever answers a stream, and of nothing that may stand between."""

# What a connection's own failure may look like; INTERNAL when it met a message half way.
_BROKEN: Final = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.CANCELLED,
)
_OPEN_SECONDS: Final = 5.0  # for the other end to say that it takes part
_WRITE_SECONDS: Final = 10.0  # for one message to find room in the connection
_LINGER_SECONDS: Final = 2.0  # for the other end to end the stream that this end has closed
_REASON: Final = 300


class Dialled(Generic[Out, In]):
    """Implements `cached.swarm.lines.Line` for any pair of messages. Belongs to one event loop."""

    def __init__(
        self,
        member: str,
        encode: Callable[[Out], bytes],
        decode: Callable[[bytes], In | None],
        heard: Callable[[In], None],
        ended: Callable[[str], None],
        opened: Callable[[], None] | None = None,
    ) -> None:
        self._member = member
        self._encode = encode
        self._decode = decode
        self._heard = heard
        self._ended = ended
        self._opened = opened
        self._closed = False
        self._outbox = Outbox()

    def send(self, message: Out) -> None:
        if not self._closed:
            self._outbox.put(self._encode(message))

    def close(self) -> None:
        self._closed = True
        self._outbox.close()

    async def run(self, channels: Channels, method: str) -> None:
        """Carry messages until the stream ends, then say why, unless it was closed here."""
        why, debug = "", {"peer": self._member, "method": method}
        log.debug("a line is opened", extra=debug)
        with channels.use(self._member) as held:
            call = held.channel.stream_stream(method, None, None)(None)
            try:
                await self._outbox.converse(self._read(call), self._write(call))
                why = "the other end ended the stream"
            except grpc.aio.AioRpcError as error:
                held.retired |= error.code() in _BROKEN
                why = f"{error.code().name}: {_printable(error.details() or '')}"
            except TooSlow as error:
                why = f"the other end does not keep up: {error}"
            except Malformed as error:
                why = f"the other end said something malformed: {error}"
            except TimeoutError:
                held.retired, why = True, "the other end does not answer"
            except asyncio.CancelledError:
                self._closed = True
                raise
            except Exception:
                log.exception("a line failed on a bug", extra=debug)
                why = "a bug on this node"
            finally:
                call.cancel()
        log.debug("a line ended", extra={**debug, "reason": why or "closed here"})
        if not self._closed:
            self._closed = True
            self._ended(why)

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        if self._opened is not None:
            async with asyncio.timeout(_OPEN_SECONDS):
                metadata = await call.initial_metadata()
            if TAKES_PART in (metadata or {}) and not self._closed:
                self._opened()
        while isinstance(data := await call.read(), bytes):  # then EOF, or the status as an error
            message = None if self._closed else self._decode(data)
            if message is not None:
                self._heard(message)

    async def _write(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        async def write(message: bytes) -> None:
            async with asyncio.timeout(_WRITE_SECONDS):
                await call.write(message)

        try:
            await self._outbox.drain(write)
            await call.done_writing()
            await asyncio.sleep(_LINGER_SECONDS)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            await asyncio.sleep(_LINGER_SECONDS)  # the reader knows the status of the stream


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:_REASON])
