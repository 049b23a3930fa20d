"""The ports between the drivers of the state machines and the wire.

Everything happens on one event loop, and nothing here blocks or awaits: what is heard is a call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from cached.core.digest import Digest
from cached.swarm.messages import FromCoordinator, FromParticipant, Hello, Holding, Survey

Out = TypeVar("Out", contravariant=True)


class Line(Protocol, Generic[Out]):
    """One open stream. Messages arrive in order, or the stream ends."""

    def send(self, message: Out) -> None:
        """Queue it. A line whose other end does not keep up ends; one that has ended drops it."""
        ...

    def close(self) -> None:
        """End it once what is queued has been sent. No callback comes after this. Idempotent."""
        ...


class Lines(Protocol):
    """Streams to other members. `ended` is called at most once, with a reason for logs."""

    def coordinate(
        self,
        member: str,
        heard: Callable[[FromCoordinator], None],
        ended: Callable[[str], None],
    ) -> Line[FromParticipant]:
        """A stream to the coordinator at `member`; the first message sent must be Hello."""
        ...

    def exchange(
        self,
        member: str,
        tree: Digest,
        opened: Callable[[], None],
        heard: Callable[[Holding], None],
        ended: Callable[[str], None],
    ) -> Line[Holding]:
        """A stream to a neighbour. `opened` when it takes part; until then nothing may be sent."""
        ...

    async def survey(self, member: str, tree: Digest) -> Survey | None:
        """What the coordinator at `member` knows; None when it does not say so within a second or two."""
        ...

    def knock(self, member: str, answered: Callable[[], None]) -> None:
        """See whether the member is there, and show it this one; silence if it is not."""
        ...


class Seat(Protocol):
    """A participant, as the coordinator on this node has it; the wire tells what it hears."""

    def heard(self, message: FromParticipant) -> None: ...

    def lost(self) -> None:
        """The stream ended. Idempotent."""
        ...


class Visitor(Protocol):
    """A neighbour that opened a stream to this node; the wire tells what it hears."""

    def heard(self, message: Holding) -> None: ...

    def lost(self) -> None:
        """The stream ended. Idempotent."""
        ...


class Swarms(Protocol):
    """What this node offers to other members. The wire has checked that they are who they say."""

    def sit(self, member: str, hello: Hello, line: Line[FromCoordinator]) -> Seat:
        """A member takes part in the swarm of `hello.tree`, which this node coordinates.

        Raises Busy when there are too many swarms, Draining when the daemon stops.
        """
        ...

    def survey(self, tree: Digest) -> Survey | None:
        """What is known of a swarm that this node coordinates; None when it coordinates none."""
        ...

    def knocked(self, member: str) -> None:
        """A member shows that it is there."""
        ...

    def visit(self, member: str, tree: Digest, line: Line[Holding]) -> Visitor | None:
        """A neighbour wants to exchange; None when this node takes no part in that swarm."""
        ...
