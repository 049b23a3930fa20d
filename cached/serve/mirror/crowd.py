"""The connections that are open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cached.serve.mirror.connection import Connection


class Crowd:
    """At most `most` connections: a new one takes the place of the one that has been idle longest.

    working: requests that are being answered, also of those who have left.
    """

    def __init__(self, most: int, gone: Callable[[int], None], malformed: Callable[[], None]) -> None:
        """gone: given the number of each connection that has ended. malformed: called for a bad request."""
        self.working = 0
        self.malformed = malformed
        self._most = most
        self._gone = gone
        self._open: set[Connection] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()

    def admit(self, one: Connection) -> None:
        """Count it, or end it when all others are at work."""
        self._open.add(one)
        self._quiet.clear()
        if len(self._open) > self._most:
            idle = [(each.idle_since, each) for each in self._open if each.idle_since is not None]
            _, longest = min(idle, key=lambda pair: pair[0])
            self._open.discard(longest)
            longest.force_close()

    def leave(self, one: Connection) -> None:
        self._open.discard(one)
        self._gone(one.number)
        self.look()

    def finish(self) -> None:
        """End all of them after the answers that are under way."""
        for one in list(self._open):
            one.finish()

    def cut(self) -> None:
        """End all of them at once."""
        for one in list(self._open):
            one.cut()

    async def quiet(self, seconds: float) -> bool:
        """Whether there is nobody, and nothing under way, within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._quiet.wait()
        except TimeoutError:
            return False
        return True

    def look(self) -> None:
        """See whether there is nobody."""
        if not self._open and not self.working:
            self._quiet.set()
