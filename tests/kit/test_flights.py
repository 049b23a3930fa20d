"""One flight per key: who starts it, who may end it."""

from __future__ import annotations

import asyncio

import pytest

from cached.kit.flights import Flights


class Work:
    """Counts what happens to it; ends when told."""

    def __init__(self) -> None:
        self.started = self.finished = self.cancelled = self.cleaned = 0
        self.gate = asyncio.Event()
        self.slow_cleanup = 0.0

    async def __call__(self, about: list[str]) -> None:
        self.started += 1
        about.append("started")
        try:
            await self.gate.wait()
            self.finished += 1
        except asyncio.CancelledError:
            self.cancelled += 1
            await asyncio.sleep(self.slow_cleanup)
            self.cleaned += 1
            raise


async def wait_in(flights: Flights[str, list[str]], work: Work, key: str = "k") -> BaseException | None:
    async with flights.join(key, list, work) as flight:
        while not await flight.wait(10):
            pass
        return flight.outcome()


async def test_a_thousand_callers_one_flight() -> None:
    flights: Flights[str, list[str]] = Flights()
    work = Work()
    callers = [asyncio.create_task(wait_in(flights, work)) for _ in range(1000)]
    await asyncio.sleep(0)
    assert len(flights) == 1
    work.gate.set()
    assert set(await asyncio.gather(*callers)) == {None}
    assert work.started == work.finished == 1
    assert len(flights) == 0


async def test_leaving_harms_nobody() -> None:
    flights: Flights[str, list[str]] = Flights()
    work = Work()
    leaver, stayer = (asyncio.create_task(wait_in(flights, work)) for _ in range(2))
    await asyncio.sleep(0.01)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    assert work.cancelled == 0
    work.gate.set()
    assert await stayer is None


async def test_the_last_to_leave_ends_it_and_waits_for_its_cleanup() -> None:
    flights: Flights[str, list[str]] = Flights()
    work = Work()
    work.slow_cleanup = 0.05
    callers = [asyncio.create_task(wait_in(flights, work)) for _ in range(3)]
    await asyncio.sleep(0.01)
    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    assert (work.started, work.cancelled, work.cleaned) == (1, 1, 1)
    assert len(flights) == 0


async def test_who_comes_during_the_cleanup_starts_anew_after_it() -> None:
    flights: Flights[str, list[str]] = Flights()
    first, second = Work(), Work()
    first.slow_cleanup = 0.05
    caller = asyncio.create_task(wait_in(flights, first))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.sleep(0.01)
    second.gate.set()
    assert await wait_in(flights, second) is None
    assert first.cleaned == 1
    assert second.finished == 1


async def test_an_error_reaches_every_caller_and_is_forgotten() -> None:
    flights: Flights[str, list[str]] = Flights()

    async def fails(about: list[str]) -> None:
        await asyncio.sleep(0.01)
        raise ValueError("no")

    async def join() -> BaseException | None:
        async with flights.join("k", list, fails) as flight:
            while not await flight.wait(10):
                pass
            return flight.outcome()

    outcomes = await asyncio.gather(*(join() for _ in range(5)))
    assert all(isinstance(outcome, ValueError) for outcome in outcomes)
    assert len(flights) == 0


async def test_cancel_all_waits_for_cleanup() -> None:
    flights: Flights[str, list[str]] = Flights()
    work = Work()
    work.slow_cleanup = 0.02
    callers = [asyncio.create_task(wait_in(flights, work, key)) for key in "ab"]
    await asyncio.sleep(0.01)
    await flights.cancel_all()
    assert work.cleaned == 2
    outcomes = await asyncio.gather(*callers)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
