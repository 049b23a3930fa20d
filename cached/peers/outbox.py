"""What one end of a stream has yet to send, and the stream in both directions."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

# A coordinator tells a member that joins all hashes at once: 33 MiB for the most chunks that a tree may have.
_MOST_BYTES: Final = 40 * 2**20
_MOST_MESSAGES: Final = 4096


class TooSlow(Exception):
    """The other end does not keep up."""


class Outbox:
    """Encoded messages in order, bounded. Belongs to one event loop."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._bytes = 0
        self._closed = False
        self._news = asyncio.Event()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, message: bytes) -> None:
        """Queue it; beyond the bounds, `converse` ends. Dropped once the outbox is closed or broken."""
        if self._closed or self._broken.done():
            return
        if len(self._messages) >= _MOST_MESSAGES or self._bytes + len(message) > _MOST_BYTES:
            self.fail(TooSlow(f"{len(self._messages)} messages wait, {self._bytes} bytes"))
            return
        self._messages.append(message)
        self._bytes += len(message)
        self._news.set()

    def close(self) -> None:
        """Nothing comes any more; what is queued still goes out."""
        self._closed = True
        self._news.set()

    def fail(self, error: Exception) -> None:
        """End the conversation with `error`, whatever is queued."""
        if not self._broken.done():
            self._broken.set_exception(error)
            self._broken.exception()  # there may be nobody any more who wants to know
        self._messages.clear()
        self._bytes = 0

    async def drain(self, write: Callable[[bytes], Awaitable[object]]) -> None:
        """Write what comes, until the outbox is closed and empty."""
        while self._messages or not self._closed:
            if self._messages:
                message = self._messages.popleft()
                self._bytes -= len(message)
                await write(message)
            else:
                self._news.clear()
                await self._news.wait()

    async def converse(self, reading: Coroutine[Any, Any, None], writing: Coroutine[Any, Any, None]) -> None:
        """Run both until one of them ends, and cancel the other.

        Raises what that one raised, or what `fail` was given. Nothing runs any more when it returns.
        """
        tasks = {asyncio.ensure_future(reading), asyncio.ensure_future(writing)}
        try:
            await asyncio.wait({*tasks, self._broken}, return_when=asyncio.FIRST_COMPLETED)
            for done in (self._broken, *tasks):
                if done.done():
                    done.result()
        finally:
            self.close()
            self._messages.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
