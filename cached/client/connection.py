"""The wire, for threads: one channel, the house's own errors, and patience."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import grpc
from grpc.experimental import ChannelOptions

from cached._proto.v1 import cache_pb2 as wire
from cached._proto.v1.cache_pb2_grpc import CacheServiceStub
from cached.client import channel
from cached.client.address import candidates, choose, target
from cached.client.errors import Cancelled, DaemonFault, TimedOut
from cached.client.grant import Grant, LeaseGrant, OnProgress, overdue, progress_of
from cached.client.patience import Patience
from cached.core.errors import CachedError
from cached.core.progress import Progress

T = TypeVar("T")


class Connection:
    """One channel to a daemon, opened at the first call, for any number of threads.

    Raises only CachedErrors, but RuntimeError in a child process forked from the one that made it: a
    channel of grpc does not survive a fork.
    """

    def __init__(self, address: str | None, *, operator: bool, wait: float) -> None:
        self._paths = candidates(address, operator=operator)
        self._wait = wait
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._channel: grpc.Channel | None = None
        self._cache: CacheServiceStub | None = None
        self._closed = threading.Event()
        self._pid = os.getpid()
        self._last_call: object = None

    @property
    def forked(self) -> bool:
        """Whether this process is a child of the one that made the connection."""
        return os.getpid() != self._pid

    def channel(self) -> grpc.Channel:
        """Opens it where that has not been done. Raises Unreachable while there is no socket."""
        if self.forked:
            raise RuntimeError("this client was made before a fork: make a new one in the child process")
        if self._closed.is_set():
            raise Cancelled("the client is closed")
        with self._lock:
            if self._channel is None:
                self._path = choose(self._paths)
                # Without a thread of grpc's own in between, a stream's answer arrives in two thirds
                # of the time.
                options = [*channel.OPTIONS, (ChannelOptions.SingleThreadedUnaryStream, 1)]
                self._channel = grpc.insecure_channel(target(self._path), options)
            return self._channel

    def cache(self) -> CacheServiceStub:
        """Every method of the pods' service."""
        opened = self.channel()
        if self._cache is None:
            self._cache = CacheServiceStub(opened)
        return self._cache

    def acquire(
        self, request: wire.AcquireRequest, timeout: float | None, on_progress: OnProgress | None
    ) -> Grant:
        """Follow the stream to its Ready; begins anew when the daemon restarts in between."""
        seen: list[Progress] = []

        def attempt(patience: Patience) -> Grant:
            call = self.cache().Acquire(request, timeout=patience.left(time.monotonic()))
            try:
                for event in call:
                    patience.heard(time.monotonic())
                    if event.HasField("ready"):
                        # The end of the stream is not worth waiting for. Dropped now, the call would
                        # be cancelled at a price; by the next one it has ended by itself.
                        self._last_call = call
                        return Grant.of(event.ready)
                    seen[:] = [progress_of(event)]
                    if on_progress:
                        on_progress(seen[0])
            except BaseException:
                _cancel(call)
                raise
            raise DaemonFault(f"the daemon ended the call for {request.ref} without an answer")

        try:
            return self.persist(attempt, timeout)
        except TimedOut:
            raise overdue(request.ref, timeout, *seen) from None

    def renew(self, lease_id: str) -> LeaseGrant:
        """For as long as was granted. One short attempt; NotFound when the lease has expired."""
        request = wire.RenewRequest(lease_id=lease_id)
        answer = self.once(lambda: self.cache().Renew(request, timeout=channel.LEASE_TIMEOUT))
        return LeaseGrant.of(answer.lease)

    def release(self, lease_id: str) -> None:
        """One short attempt."""
        request = wire.ReleaseRequest(lease_id=lease_id)
        self.once(lambda: self.cache().Release(request, timeout=channel.LEASE_TIMEOUT))

    def call(self, attempt: Callable[[float | None], T], timeout: float | None) -> T:
        """A unary call, made again while the daemon is absent."""
        return self.persist(lambda patience: attempt(patience.left(time.monotonic())), timeout)

    def stream(
        self, begin: Callable[[float | None], grpc.CallIterator[T]], timeout: float | None
    ) -> Iterator[T]:
        """A server's stream, begun again while the daemon is absent, but not once it has spoken.

        Closing the iterator cancels the call.
        """

        def first(patience: Patience) -> tuple[grpc.CallIterator[T], Iterator[T], T | None]:
            call = begin(patience.left(time.monotonic()))
            try:
                messages = iter(call)
                return call, messages, next(messages, None)
            except BaseException:
                _cancel(call)
                raise

        call, messages, message = self.persist(first, timeout)
        try:
            while message is not None:
                yield message
                message = self.once(lambda: next(messages, None))
        finally:
            _cancel(call)

    def persist(self, attempt: Callable[[Patience], T], timeout: float | None) -> T:
        """Run a call, and again while Patience says so; `timeout` in seconds for all of it."""
        channel.check_timeout(timeout)
        patience = Patience(time.monotonic(), timeout, self._wait, random.random)
        while True:
            try:
                return self.once(lambda: attempt(patience))
            except CachedError as error:
                pause = patience.pause(error, time.monotonic())
                if pause is None:
                    raise
            if self._closed.wait(pause):
                raise Cancelled("the client was closed")

    def once(self, attempt: Callable[[], T]) -> T:
        """Run one call and raise what went wrong as a CachedError."""
        try:
            return attempt()
        except grpc.RpcError as error:
            trailing = error.trailing_metadata()
            raise channel.explain(error.code(), error.details(), trailing, self._path) from None
        except ValueError:
            if self._closed.is_set():  # grpc's word for a channel closed under the call
                raise Cancelled("the client was closed") from None
            raise

    def close(self) -> None:
        """End all calls under way; they raise Cancelled. In a forked child it touches nothing."""
        if self.forked or self._closed.is_set():
            return
        self._closed.set()
        self._last_call = None
        with self._lock:
            if self._channel is not None:
                self._channel.close()


def _cancel(call: grpc.RpcContext) -> None:
    """Does nothing to a call that has ended."""
    call.cancel()  # type: ignore[no-untyped-call]  # the stubs forgot it
