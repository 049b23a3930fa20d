"""A stream that another member opened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from cached.peers.outbox import Outbox
from cached.serve.peer.control.caller import Context

Out = TypeVar("Out")
In = TypeVar("In")
Heard = TypeVar("Heard", contravariant=True)

_WRITE_SECONDS: Final = 10.0  # for one message to find room in the connection


class Place(Protocol[Heard]):
    """A seat, or a visitor: who hears what comes."""

    def heard(self, message: Heard) -> None: ...

    def lost(self) -> None: ...


class Replaced(Exception):
    """The member has opened a newer stream."""


class Called(Generic[Out, In]):
    """Implements `cached.swarm.lines.Line` for any pair of messages. Belongs to one event loop."""

    def __init__(self, encode: Callable[[Out], bytes], decode: Callable[[bytes], In | None]) -> None:
        self._encode = encode
        self._decode = decode
        self._outbox = Outbox()
        self._closed = False
        self._place: Place[In] | None = None

    def send(self, message: Out) -> None:
        if not self._closed:
            self._outbox.put(self._encode(message))

    def close(self) -> None:
        self._closed = True
        self._outbox.close()

    def replaced(self) -> None:
        """A newer stream takes its place; the place is lost from this moment."""
        self._closed = True
        self._outbox.fail(Replaced())
        self.lost()

    def lost(self) -> None:
        """Tell the place so, once."""
        self._closed = True
        place, self._place = self._place, None
        if place is not None:
            place.lost()

    def taken(self, place: Place[In]) -> None:
        """From now on `place` hears what comes, until it is told `lost`."""
        self._place = place

    async def run(self, context: Context) -> None:
        """Carry messages until either end has had enough.

        Raises Malformed, TooSlow, TimeoutError, Replaced, and whatever `heard` raises. The caller must call
        `lost`, however it ends.
        """

        async def write(message: bytes) -> None:
            async with asyncio.timeout(_WRITE_SECONDS):
                await context.write(message)

        await self._outbox.converse(self._read(context), self._outbox.drain(write))

    async def _read(self, context: Context) -> None:
        while isinstance(data := await context.read(), bytes):  # then EOF
            message = self._decode(data)
            if message is not None and self._place is not None and not self._closed:
                self._place.heard(message)
