"""Means are given back after a while without use, and not before."""

from __future__ import annotations

import asyncio

from cached.transfer.linger import Linger


async def test_given_back_once_nothing_is_in_use_for_so_long() -> None:
    loop = asyncio.get_running_loop()
    given_back: list[float] = []
    linger = Linger(0.1, lambda: given_back.append(loop.time()))
    with linger.use():
        with linger.use():
            pass
        await asyncio.sleep(0.2)
        assert given_back == []
    await asyncio.sleep(0.05)
    with linger.use():
        ended = loop.time()
    await asyncio.sleep(0.2)
    assert len(given_back) == 1
    assert given_back[0] - ended >= 0.1


async def test_nothing_is_given_back_after_the_stop() -> None:
    given_back: list[None] = []
    linger = Linger(0.0, lambda: given_back.append(None))
    with linger.use():
        pass
    linger.stop()
    await asyncio.sleep(0.05)
    assert given_back == []
