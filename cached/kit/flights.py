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
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def ended(self) -> bool:
        return self._task.done()

    async def wait(self, seconds: float) -> bool:
        """Wait at most `seconds` for the end; True when it has ended. A waiter's cancel stays its own."""
        done, _ = await asyncio.wait({self._task}, timeout=seconds)
        return bool(done)

    def outcome(self) -> BaseException | None:
        """How work that has ended, ended; None when well."""
        return asyncio.CancelledError() if self._task.cancelled() else self._task.exception()


class Flights(Generic[K, F]):
    """Flights by key. The last waiter to leave cancels the work; nobody else's leaving touches it."""

    def __init__(self, linger: float = 0.0) -> None:
        """linger: seconds that work goes on after its last waiter left, for one who comes again."""
        self._linger = linger
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
        one cancels the work and waits until it has cleaned up, or with a `linger` waits for nothing.
        """
        while (flight := self._flights.get(key)) is not None and flight._abandoned:
            await flight.wait(3600)
        if flight is None:
            shown = about()
            task = asyncio.ensure_future(self._run(key, work(shown)))
            flight = self._flights[key] = Flight(shown, task)
        flight._waiters += 1
        if flight._leaving is not None:
            flight._leaving.cancel()
            flight._leaving = None
        try:
            yield flight
        finally:
            flight._waiters -= 1
            if flight._waiters == 0 and not flight._task.done():
                if self._linger:
                    loop = asyncio.get_running_loop()
                    flight._leaving = loop.call_later(self._linger, self._abandon, flight)
                else:
                    self._abandon(flight)
                    await asyncio.wait({flight._task})
            if flight._task.done() and not flight._task.cancelled():
                flight._task.exception()

    def _abandon(self, flight: Flight[F]) -> None:
        flight._abandoned = True
        flight._task.cancel()

    async def _run(self, key: K, work: Awaitable[None]) -> None:
        try:
            await work
        finally:
            flight = self._flights.pop(key)
            if flight._leaving is not None:  # nobody is left to ask how it ended
                flight._leaving.cancel()
                flight._task.add_done_callback(_noted)

    async def settle(self, seconds: float) -> None:
        """Wait until the flights of this moment have ended, at most `seconds`."""
        if self._flights:
            await asyncio.wait({flight._task for flight in self._flights.values()}, timeout=seconds)

    async def cancel_all(self) -> None:
        """Cancel all work and wait until it has cleaned up."""
        flights = list(self._flights.values())
        for flight in flights:
            self._abandon(flight)
        if flights:
            await asyncio.wait({flight._task for flight in flights})


def _noted(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
