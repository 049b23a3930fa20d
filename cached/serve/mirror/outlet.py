"""The way of blob bytes to a puller: from the file to the socket, in the kernel."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import time
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cached.core.errors import Busy, DiskFault
from cached.engine.images.views import Piece
from cached.kit.pool import Pool

PIECE: Final = 8 << 20
"""Bytes asked for and sent at a time."""
_TURN: Final = 0.25  # seconds after which a thread that has to wait lets others send
_BREATH: Final = 20  # milliseconds that a thread waits for room in the socket


class SlowPuller(Exception):
    """A puller takes no bytes."""


class Outlet:
    """Sends pieces of files through one connection, whose own buffer is empty; for the event loop's thread.

    A thread of the pool sends what the socket takes, and is not kept by a puller that takes nothing: the
    event loop waits for room. The outlet has a descriptor of its own, since the connection may be closed,
    and its number given to another one, while a thread still sends.
    """

    def __init__(
        self, sock: TransportSocket, pool: Pool, *, stall: float, slow: float, told: Callable[[int], object]
    ) -> None:
        """stall, slow: see MirrorOptions. told: given each number of bytes that were sent. Raises Busy."""
        try:
            self._sock = sock.dup()
        except OSError as error:
            raise Busy(f"no descriptor is left to send by: {error.strerror or error}") from None
        self._pool = pool
        self._stall = stall
        self._slow = slow
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Future[int] | None = None
        self._fd: int | None = None
        self._begun: int | None = None

    async def send(self, piece: Piece) -> None:
        """Send all of it; its descriptor is the outlet's from now on.

        Raises ConnectionError when the puller has gone, SlowPuller when it takes nothing, and DiskFault.
        """
        fd = self._take(piece.fd)
        if self._begun is None:
            self._begun = piece.offset
        offset, end = piece.offset, piece.offset + piece.length
        while True:
            offset += await self._send_some(fd, offset, end - offset, self._begun)
            if offset == end:
                break
            await self._room()

    def close(self) -> None:
        """Let go of everything. What a thread is still sending is cut off: so is the connection then."""
        if self._turn is not None and not self._turn.done():
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
            self._turn.add_done_callback(self._release)
        else:
            self._release(self._turn)

    def _take(self, fd: int) -> int:
        """The descriptor to read by: the one before, if it is of the same file.

        The kernel reads ahead by it: that is a fifth of the speed where the file is not in memory.
        """
        if self._fd is not None and os.path.sameopenfile(self._fd, fd):
            os.close(fd)
            return self._fd
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd
        return fd

    async def _send_some(self, fd: int, offset: int, length: int, begun: int) -> int:
        self._turn = self._loop.run_in_executor(
            self._pool.executor, _send, self._sock.fileno(), fd, offset, length, begun
        )
        self._turn.add_done_callback(self._count)
        # Not awaited itself: cancelled, it would seem to be done while the thread still sends.
        done, _ = await asyncio.wait({self._turn}, timeout=self._stall)
        if not done:
            raise DiskFault(f"the disk has given no bytes for {self._stall:g} s")
        return self._turn.result()

    async def _room(self) -> None:
        room = self._loop.create_future()

        def found() -> None:
            if not room.done():
                room.set_result(None)

        self._loop.add_writer(self._sock.fileno(), found)
        try:
            async with asyncio.timeout(self._slow):
                await room
        except TimeoutError:
            raise SlowPuller from None
        finally:
            self._loop.remove_writer(self._sock.fileno())

    def _count(self, turn: asyncio.Future[int]) -> None:
        """Also what was sent to somebody who left meanwhile."""
        if not turn.cancelled() and turn.exception() is None:
            self._told(turn.result())

    def _release(self, _: object) -> None:
        self._sock.close()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _send(sock: int, fd: int, offset: int, length: int, begun: int) -> int:
    """Send what the socket takes of these bytes of a file; returns how many. Raises as Outlet.send does.

    begun: from where on this puller got all that comes before.
    """
    room = select.poll()
    room.register(sock, select.POLLOUT)
    due = time.monotonic() + _TURN
    sent = 0
    try:
        while sent < length:
            try:
                count = os.sendfile(sock, fd, offset + sent, length - sent)
            except BlockingIOError:
                if time.monotonic() >= due or not room.poll(_BREATH):
                    break
                continue
            if not count:
                raise DiskFault("a blob's file is shorter than the blob")
            sent += count
        # What the puller has can leave the page cache, where it came for it alone. The last bytes may still
        # be in the socket, and would stay.
        first, end = max(begun, offset - PIECE), offset + sent - PIECE
        if first < end:
            os.posix_fadvise(fd, first, end - first, os.POSIX_FADV_DONTNEED)
    except ConnectionError:
        raise
    except OSError as error:
        raise DiskFault(f"a blob cannot be read: {error.strerror or error}") from error
    return sent
