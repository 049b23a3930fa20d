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
from cached.swarm.messages import FromCoordinator, FromParticipant, Holding

log = logging.getLogger(__name__)

SERVICE: Final = "/cached.v1.PeerService"
_KNOCK_SECONDS: Final = 3.0


class Links:
    """Implements `cached.swarm.lines.Lines` over gRPC. Belongs to one event loop."""

    def __init__(self, me: Member, identity: Credentials | None) -> None:
        """`identity` is None for a network that is spoken to in plaintext."""
        self._me = me
        self._tasks: set[asyncio.Task[None]] = set()
        self._channels = Channels(identity, lambda channel: self._run(channel.close(None)))
        self._closed = False

    def coordinate(
        self,
        member: str,
        heard: Callable[[FromCoordinator], None],
        ended: Callable[[str], None],
    ) -> Line[FromParticipant]:
        line: Dialled[FromParticipant, FromCoordinator] = Dialled(
            member, wire.encode_participant, wire.decode_coordinator, heard, ended
        )
        self._run(line.run(self._channels, f"{SERVICE}/Coordinate"))
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
        self._run(line.run(self._channels, f"{SERVICE}/Exchange"))
        return line

    def knock(self, member: str, answered: Callable[[], None]) -> None:
        self._run(self._knock(member, answered))

    async def close(self) -> None:
        """End all lines, without callbacks. Returns when nothing of them is left."""
        self._closed = True
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks)
            self._channels.close()

    async def _knock(self, member: str, answered: Callable[[], None]) -> None:
        with self._channels.use(member) as held:
            try:
                knock = held.channel.unary_unary(f"{SERVICE}/Knock", None, None)
                await knock(b"", timeout=_KNOCK_SECONDS)
            except grpc.aio.AioRpcError as error:
                held.retired |= error.code() is not grpc.StatusCode.UNIMPLEMENTED
                log.debug("a member does not answer", extra={"peer": member, "reason": error.code().name})
                return
        answered()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a line failed on a bug", exc_info=error)
