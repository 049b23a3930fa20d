"""A membership, followed while a test looks on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

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
