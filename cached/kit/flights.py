"""One piece of work in progress per key, however many wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
F = TypeVar("F")


class Flight(Generic[F]):
    """Work under way; `about` is what its starter lets others see of it, such as its progress."""

    def __init__(self, about: F, task: asyncio.Task[None]) -> None:
        self.about = about
        self._task = task
        self._waiters = 0
        self._abandoned = False

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the end; True when it has ended. A waiter's cancel stays its own."""
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done)

    def outcome(self) -> BaseException | None:
        """How work that has ended, ended; None when well."""
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()


class Flights(Generic[K, F]):
    """Flights by key. The last waiter to leave cancels the work; nobody else's leaving touches it."""

    def __init__(self) -> None:
        self._flights: dict[K, Flight[F]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def get(self, key: K) -> F | None:
        """What the flight under `key` shows, if there is one."""
        flight = self._flights.get(key)
        return flight.about if flight else None

    @asynccontextmanager
    async def join(
        self, key: K, about: Callable[[], F], work: Callable[[F], Awaitable[None]]
    ) -> AsyncIterator[Flight[F]]:
        """Join the flight under `key`, or start it with `work(about())`.

        Work that was abandoned and still cleans up is waited for, then started anew. Leaving as the last
        one cancels the work and waits until it has cleaned up.
        """
        while (flight := self._flights.get(key)) is not None and flight._abandoned:
            await flight.wait(3600)
        if flight is None:
            shown = about()
            task = asyncio.ensure_future(self._run(key, work(shown)))
            flight = self._flights[key] = Flight(shown, task)
        flight._waiters += 1
        try:
            yield flight
        finally:
            flight._waiters -= 1
            if flight._waiters == 0 and not flight._task.done():
                flight._abandoned = True
                flight._task.cancel()
                await asyncio.wait({flight._task})
            if flight._task.done() and not flight._task.cancelled():
                flight._task.exception()

    async def _run(self, key: K, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            del self._flights[key]

    async def settle(self, seconds: float) -> None:
        """Wait until the flights of this moment have ended, at most `seconds`."""
        if self._flights:
            await asyncio.wait({flight._task for flight in self._flights.values()}, timeout=seconds)

    async def cancel_all(self) -> None:
        """Cancel all work and wait until it has cleaned up."""
        flights = list(self._flights.values())
        for flight in flights:
            flight._abandoned = True
            flight._task.cancel()
        if flights:
            await asyncio.wait({flight._task for flight in flights})
