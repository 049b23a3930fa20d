"""A loop that hangs is noticed from outside."""

from __future__ import annotations

import asyncio

from cached.kit.pulse import Pulse


class Now:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.time = 100.0

    def __call__(self) -> float:
        return self.time


async def test_a_loop_that_turns_is_alive_and_one_that_hangs_is_not() -> None:
    now = Now()
    pulse = Pulse(now, limit=60.0)
    heard = [pulse.alive]
    now.time = 161.0
    heard.append(pulse.alive)
    beating = asyncio.create_task(pulse.beat())
    await asyncio.sleep(0)
    heard.append(pulse.alive)
    now.time = 221.0
    heard.append(pulse.alive)
    beating.cancel()
    assert heard == [True, False, True, False]
