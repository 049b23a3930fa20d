from __future__ import annotations

import asyncio

import pytest

from cached.kit.finish import finish


async def test_it_gives_what_the_work_gives() -> None:
    async def work() -> int:
        return 7

    assert await finish(work()) == 7


async def test_an_error_comes_through() -> None:
    async def work() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await finish(work())


@pytest.mark.parametrize("fails", [False, True])
async def test_a_cancelled_caller_waits_for_the_end_however_often_it_is_cancelled(fails: bool) -> None:
    step = asyncio.Event()
    done = []

    async def work() -> None:
        await step.wait()
        done.append("work")
        if fails:
            raise OSError("nobody hears of it")

    async def caller() -> None:
        try:
            await finish(work())
        finally:
            done.append("caller")

    task = asyncio.ensure_future(caller())
    await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert not task.done()
    step.set()
    await asyncio.wait({task})
    assert task.cancelled()
    assert done == ["work", "caller"]
