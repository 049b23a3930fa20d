"""Streams to other members."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

import grpc

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.peers import wire
from cached.peers.channels import Channels, Credentials
from cached.peers.dialled import Dialled
from cached.swarm.lines import Line
from cached.swarm.messages import FromCoordinator, FromParticipant, Holding, Survey

log = logging.getLogger(__name__)

SERVICE: Final = "/cached.v1.PeerService"
_KNOCK_SECONDS: Final = 3.0
_SURVEY_SECONDS: Final = 1.5
_ANSWERS: Final = frozenset(
    {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
)


class Links:
    """Implements `cached.swarm.lines.Lines` over gRPC. Belongs to one event loop."""

    def __init__(self, me: Member, identity: Credentials | None) -> None:
        """`identity` is None for a network that is spoken to in plaintext."""
        self._me = me
        self._lines: set[asyncio.Task[None]] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._channels = Channels(identity, lambda channel: _run(channel.close(None), self._closings))

    def coordinate(
        self,
        member: str,
        heard: Callable[[FromCoordinator], None],
        ended: Callable[[str], None],
    ) -> Line[FromParticipant]:
        line: Dialled[FromParticipant, FromCoordinator] = Dialled(
            member, wire.encode_participant, wire.decode_coordinator, heard, ended
        )
        _run(line.run(self._channels, f"{SERVICE}/Coordinate"), self._lines)
        return line

    def exchange(
        self,
        member: str,
        tree: Digest,
        opened: Callable[[], None],
        heard: Callable[[Holding], None],
        ended: Callable[[str], None],
    ) -> Line[Holding]:
        line = Dialled(
            member, wire.encode_exchange_request, wire.decode_exchange_response, heard, ended, opened
        )
        line.send(wire.Open(tree, self._me.address))
        _run(line.run(self._channels, f"{SERVICE}/Exchange"), self._lines)
        return line

    def knock(self, member: str, answered: Callable[[], None]) -> None:
        _run(self._knock(member, answered), self._lines)

    async def survey(self, member: str, tree: Digest) -> Survey | None:
        request = wire.encode_survey_request(tree, self._me.address)
        answer = await self._ask(member, "Survey", request, _SURVEY_SECONDS)
        try:
            return None if answer is None else wire.decode_survey(answer)
        except wire.Malformed as error:
            log.debug("a survey makes no sense", extra={"peer": member, "reason": str(error)})
            return None

    async def close(self) -> None:
        """End all lines at once, without callbacks. Nothing of them is left then; no other may be opened."""
        for task in self._lines:
            task.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        self._channels.close()
        await asyncio.gather(*self._closings, return_exceptions=True)

    async def _knock(self, member: str, answered: Callable[[], None]) -> None:
        if await self._ask(member, "Knock", wire.encode_knock(self._me.address), _KNOCK_SECONDS) is not None:
            answered()

    async def _ask(self, member: str, method: str, request: bytes, seconds: float) -> bytes | None:
        """One question; None when it is not answered in time."""
        with self._channels.use(member) as held:
            try:
                ask = held.channel.unary_unary(f"{SERVICE}/{method}", None, None)
                answer: bytes = await ask(request, timeout=seconds)
            except grpc.aio.AioRpcError as error:
                held.retired |= error.code() not in _ANSWERS
                log.debug("a member does not answer", extra={"peer": member, "reason": error.code().name})
                return None
        return answer


def _run(work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
    """Run it as one of `tasks`."""

    def done(task: asyncio.Task[None]) -> None:
        tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a line failed on a bug", exc_info=error)

    task = asyncio.get_running_loop().create_task(work)
    tasks.add(task)
    task.add_done_callback(done)
