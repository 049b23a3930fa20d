"""The line between a participant and a coordinator on the same node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cached.core.errors import CachedError
from cached.engine.swarm.hosting import Hosting
from cached.swarm.lines import Seat
from cached.swarm.messages import FromCoordinator, FromParticipant, Hello


class LocalLine:
    """As the wire would do it: in order, and never heard from inside `send`."""

    def __init__(
        self,
        hosting: Hosting,
        me: str,
        heard: Callable[[FromCoordinator], None],
        ended: Callable[[str], None],
    ) -> None:
        self._hosting = hosting
        self._me = me
        self._heard = heard
        self._ended = ended
        self._seat: Seat | None = None
        self._closed = False
        self._loop = asyncio.get_running_loop()

    def send(self, message: FromParticipant) -> None:
        self._loop.call_soon(self._arrive, message)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._leave)

    def _arrive(self, message: FromParticipant) -> None:
        if self._seat is not None:
            self._seat.heard(message)
        elif isinstance(message, Hello) and not self._closed:
            try:
                self._seat = self._hosting.sit(self._me, message, _Back(self))
            except CachedError as error:
                self.end(str(error))

    def _leave(self) -> None:
        if self._seat is not None:
            self._seat.lost()

    def back(self, message: FromCoordinator) -> None:
        """The coordinator said something."""
        self._loop.call_soon(self._tell, message)

    def _tell(self, message: FromCoordinator) -> None:
        if not self._closed:
            self._heard(message)

    def end(self, why: str) -> None:
        """The coordinator is done with this member."""
        if not self._closed:
            self.close()
            self._loop.call_soon(self._ended, why)


class _Back:
    """The coordinator's end of the line."""

    def __init__(self, line: LocalLine) -> None:
        self._line = line

    def send(self, message: FromCoordinator) -> None:
        self._line.back(message)

    def close(self) -> None:
        self._line.end("the coordinator closed the line")
