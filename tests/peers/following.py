"""A membership, followed while a test looks on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cached.core.peer import Member
from cached.peers.membership import Membership
from tests.servers.apiserver import TASK as SERVER


class Heard:
    """What `changed` was told, in order."""

    def __init__(self) -> None:
        self.told: list[tuple[Member, ...]] = []
        self._more = asyncio.Event()

    def changed(self, members: tuple[Member, ...]) -> None:
        self.told.append(members)
        self._more.set()

    async def until(self, *members: Member | str, seconds: float = 10) -> None:
        """Wait until these are the members; the rest of what was told stays in `told`."""
        wanted = tuple(sorted(Member(each) if isinstance(each, str) else each for each in members))
        async with asyncio.timeout(seconds):
            while not self.told or self.told[-1] != wanted:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def following(membership: Membership) -> AsyncIterator[Heard]:
    """Follow it; at the end see that it had neither ended nor failed, and that it ends when cancelled."""
    heard = Heard()
    task = asyncio.create_task(membership.follow(heard.changed))
    try:
        yield heard
        assert not task.done(), task
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()
        left = {each.get_name() for each in asyncio.all_tasks() - {asyncio.current_task()}}
        assert left <= {SERVER}, left


async def warned(caplog: pytest.LogCaptureFixture) -> str:
    """Why it is unknown who the members are, once that is logged."""
    async with asyncio.timeout(30):
        while not (records := outages(caplog)):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return str(records[0].__dict__["reason"])


def outages(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """A warning for each outage, and an info once it was over, if the test lets that through."""
    return [record for record in caplog.records if record.name == "cached.peers.membership.outage"]
