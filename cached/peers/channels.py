"""gRPC channels to other members: shared while they are good, closed when nobody needs them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import grpc

from cached.peers.membership.address import Address
from cached.peers.tuning import CLIENT

_LINGER: Final = 30.0  # seconds that a channel without lines is kept: a swarm's next line finds it warm


class Credentials(Protocol):
    """How this node proves who it is; `cached.peers.identity.Identity` does."""

    @property
    def generation(self) -> int: ...

    def server_name(self, host: str) -> str: ...

    def channel_credentials(self) -> grpc.ChannelCredentials: ...


@dataclass(slots=True, eq=False)
class Held:
    """A channel, how many calls hold it, and whether the next call shall have another."""

    channel: grpc.aio.Channel
    generation: int
    users: int = 0
    retired: bool = False
    closing: asyncio.TimerHandle | None = None


class Channels:
    """One channel per member. Belongs to one event loop.

    After a failure gRPC tries again in its own time, and fails calls meanwhile: so a channel that failed is
    retired, and the next call tries at once on a fresh one. A channel is retired, too, when this node has
    another certificate; the calls on it go on.
    """

    def __init__(self, credentials: Credentials | None, close: Callable[[grpc.aio.Channel], None]) -> None:
        """`close` closes a channel, in its own time."""
        self._credentials = credentials
        self._close = close
        self._held: dict[str, Held] = {}

    @contextmanager
    def use(self, member: str) -> Iterator[Held]:
        """A channel to `member`; set `retired` if it failed."""
        held = self._current(member)
        held.users += 1
        if held.closing is not None:
            held.closing.cancel()
            held.closing = None
        try:
            yield held
        finally:
            held.users -= 1
            if held.retired:
                self._forget(member, held)
            elif not held.users:
                loop = asyncio.get_running_loop()
                held.closing = loop.call_later(_LINGER, self._retire, member, held)

    def close(self) -> None:
        """Close those that nobody uses; no call may come any more."""
        for member, held in list(self._held.items()):
            self._retire(member, held)

    def _current(self, member: str) -> Held:
        generation = self._credentials.generation if self._credentials else 0
        held = self._held.get(member)
        if held is not None and (held.retired or held.generation != generation):
            self._retire(member, held)
            held = None
        if held is None:
            held = self._held[member] = Held(self._open(member), generation)
        return held

    def _open(self, member: str) -> grpc.aio.Channel:
        target = f"dns:///{member}"
        if self._credentials is None:
            return grpc.aio.insecure_channel(target, options=CLIENT)
        host = Address.parse(member).host
        name = self._credentials.server_name(host)
        named = () if name == host else (("grpc.ssl_target_name_override", name),)
        return grpc.aio.secure_channel(
            target, self._credentials.channel_credentials(), options=(*CLIENT, *named)
        )

    def _retire(self, member: str, held: Held) -> None:
        held.retired = True
        self._forget(member, held)

    def _forget(self, member: str, held: Held) -> None:
        if self._held.get(member) is held:
            del self._held[member]
        if held.closing is not None:
            held.closing.cancel()
            held.closing = None
        if not held.users:
            self._close(held.channel)
