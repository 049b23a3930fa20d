"""The neighbours: streams to them, what each holds, what each was told."""

from __future__ import annotations

from collections.abc import Sequence

from cached.core.peer import Member
from cached.swarm.actions import Action, Connect, Disconnect, SendNeighbour
from cached.swarm.announcing import Announcing
from cached.swarm.fetching import Fetching
from cached.swarm.messages import Holding, NeighbourInfo
from cached.swarm.neighbourhood import Neighbourhood


class Exchange:
    """Keeps `fetching` in the picture of who holds what, and neighbours of what is here. Times in seconds.

    load: uploads of this node under way and waiting.
    """

    def __init__(self, me: Member, fetching: Fetching, announce_seconds: float) -> None:
        self.load = 0
        self._me = me
        self._fetching = fetching
        self._neighbourhood = Neighbourhood(me.address)
        self._announcing = Announcing(announce_seconds)

    @property
    def neighbours(self) -> tuple[NeighbourInfo, ...]:
        return self._neighbourhood.now

    @property
    def due(self) -> float:
        """When `announce` has something to say."""
        return self._announcing.due

    def info(self, member: str) -> NeighbourInfo | None:
        return self._neighbourhood.info(member)

    def adopt(self, named: Sequence[NeighbourInfo], out: list[Action]) -> None:
        """These are the neighbours now."""
        new, gone = self._neighbourhood.adopt(named)
        for member in gone:
            self._announcing.remove(member)
            self._fetching.forget(member)
            out.append(Disconnect(member))
        out += [Connect(member) for member in new if member not in self._announcing]
        self._fetching.near = {
            info.member.address: info.member.zone == self._me.zone for info in self._neighbourhood.now
        }

    def connected(self, member: str) -> Action:
        """A stream is open; returns the first message."""
        self._neighbourhood.connected(member)
        self._fetching.forget(member)
        self._announcing.add(member, self._fetching.have)
        return SendNeighbour(member, Holding(self._fetching.have, self.load))

    def heard(self, member: str, message: Holding) -> bool:
        """Whether that makes it worth to ask for more."""
        return member in self._announcing and self._fetching.holds(member, message.chunks, message.load)

    def disconnected(self, now: float, member: str) -> None:
        self._announcing.remove(member)
        self._fetching.forget(member)
        self._neighbourhood.disconnected(now, member)

    def reconnect(self, out: list[Action]) -> None:
        """End all streams, and open anew those that are for this node to open."""
        for member in self._announcing.members:
            self._announcing.remove(member)
            self._fetching.forget(member)
            out.append(Disconnect(member))
            if self._neighbourhood.dials(member):
                out.append(Connect(member))

    def dial(self, now: float) -> list[Action]:
        """Try again those that could not be reached."""
        return [Connect(member) for member in self._neighbourhood.to_dial(now)]

    def added(self) -> None:
        """Something was added to what is here."""
        self._announcing.added()

    def announce(self, now: float) -> list[Action]:
        """Tell what is new, if it is time."""
        news = self._announcing.flush(now, self._fetching.have, self._fetching.rarity.holdings)
        return [SendNeighbour(member, Holding(chunks, self.load)) for member, chunks in news]

    def leave(self) -> list[Action]:
        """End all streams."""
        return [Disconnect(member) for member in self._announcing.members]
