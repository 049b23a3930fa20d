"""The wire, for an event loop: one channel, the house's own errors, and patience."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import grpc

from cached._proto.v1 import cache_pb2 as wire
from cached._proto.v1.cache_pb2_grpc import CacheServiceStub
from cached.client import channel
from cached.client.address import candidates, choose, target
from cached.client.errors import Cancelled, DaemonFault, TimedOut
from cached.client.grant import Grant, LeaseGrant, OnProgress, overdue, progress_of
from cached.client.patience import Patience
from cached.core.errors import CachedError
from cached.core.progress import Progress

if TYPE_CHECKING:  # a class of the stub file only
    from cached._proto.v1.cache_pb2_grpc import CacheServiceAsyncStub

T = TypeVar("T")


class AsyncConnection:
    """One channel to a daemon, opened at the first call, for one event loop.

    Raises only CachedErrors, but RuntimeError in a forked child. Cancelling a task cancels its call.
    """

    def __init__(self, address: str | None, *, wait: float) -> None:
        self._paths = candidates(address)
        self._wait = wait
        self._path: Path | None = None
        self._channel: grpc.aio.Channel | None = None
        self._cache: CacheServiceAsyncStub | None = None
        self._closed = asyncio.Event()
        self._pid = os.getpid()
        self._last_call: object = None

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the one that made the connection."""
        return os.getpid() != self._pid

    def cache(self) -> CacheServiceAsyncStub:
        """Every method of the pods' service. Raises Unreachable while there is no socket."""
        if self.forked:
            raise RuntimeError("this client was made before a fork: make a new one in the child process")
        if self._closed.is_set():
            raise Cancelled("the client is closed")
        if self._cache is None:
            self._path = choose(self._paths)
            self._channel = grpc.aio.insecure_channel(target(self._path), channel.OPTIONS)
            self._cache = CacheServiceStub(self._channel)
        return self._cache

    async def acquire(
        self, request: wire.AcquireRequest, within: float | None, on_progress: OnProgress | None
    ) -> Grant:
        """Follow the stream to its Ready; begins anew when the daemon restarts in between."""
        seen: list[Progress] = []

        async def attempt(patience: Patience) -> Grant:
            call = self.cache().Acquire(request, timeout=patience.left(time.monotonic()))
            try:
                async for event in call:
                    patience.heard(time.monotonic())
                    if event.HasField("ready"):
                        self._last_call = call  # ends by itself; dropped now, it would be cancelled
                        return Grant.of(event.ready)
                    seen[:] = [progress_of(event)]
                    if on_progress:
                        on_progress(seen[0])
            except BaseException:
                call.cancel()
                raise
            raise DaemonFault(f"the daemon ended the call for {request.ref} without an answer")

        try:
            return await self.persist(attempt, within)
        except TimedOut:
            raise overdue(request.ref, within, *seen) from None

    async def renew(self, lease_id: str) -> LeaseGrant:
        """For as long as was granted. One short attempt; NotFound when the lease has expired."""
        request = wire.RenewRequest(lease_id=lease_id)

        async def attempt() -> wire.RenewResponse:
            return await self.cache().Renew(request, timeout=channel.LEASE_TIMEOUT)

        return LeaseGrant.of((await self.once(attempt)).lease)

    async def release(self, lease_id: str) -> None:
        """One short attempt."""
        request = wire.ReleaseRequest(lease_id=lease_id)

        async def attempt() -> wire.ReleaseResponse:
            return await self.cache().Release(request, timeout=channel.LEASE_TIMEOUT)

        await self.once(attempt)

    async def persist(self, attempt: Callable[[Patience], Awaitable[T]], within: float | None) -> T:
        """Run a call, and again while Patience says so; `within` in seconds for all of it."""
        channel.check_timeout(within)
        patience = Patience(time.monotonic(), within, self._wait, random.random)
        while True:
            try:
                return await self.once(lambda: attempt(patience))
            except CachedError as error:
                pause = patience.pause(error, time.monotonic())
                if pause is None:
                    raise
            try:
                async with asyncio.timeout(pause):
                    await self._closed.wait()
            except TimeoutError:
                continue
            raise Cancelled("the client was closed")

    async def once(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Run one call and raise what went wrong as a CachedError."""
        try:
            return await attempt()
        except grpc.aio.AioRpcError as error:
            trailing = error.trailing_metadata()
            raise channel.explain(error.code(), error.details(), trailing, self._path) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed.is_set() and not (task and task.cancelling()):
                raise Cancelled("the client was closed") from None
            raise

    async def close(self) -> None:
        """End all calls under way; they raise Cancelled. In a forked child it touches nothing."""
        if self.forked or self._closed.is_set():
            return
        self._closed.set()
        self._last_call = None
        if self._channel is not None:
            await self._channel.close(None)
