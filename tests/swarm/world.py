"""A cluster in virtual time: the real state machines, simulated links, streams and faults."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from cached.core.digest import Digest
from cached.core.peer import Member
from cached.swarm.actions import (
    Action,
    Ban,
    Cancel,
    ChooseCoordinator,
    Complete,
    Connect,
    Disconnect,
    Failure,
    Fetch,
    Knock,
    Send,
    SendCoordinator,
    SendNeighbour,
    TellHashes,
)
from cached.swarm.bits import all_bits, each_bit
from cached.swarm.coordinator import Coordinator
from cached.swarm.health import Health
from cached.swarm.limits import FetchLimits, SourceLimits
from cached.swarm.messages import FromCoordinator, FromParticipant, Have, Hello, Holding, Refused
from cached.swarm.participant import Participant
from tests.swarm.network import SEGMENTS, Flow, Link, Timeline, send

Message = FromParticipant | FromCoordinator | Holding

TREE = Digest.sha256(b"a tree")
CHUNK = 8 << 20


@dataclass(frozen=True)
class Conditions:
    """What the cluster is like. Rates in chunks per second, times in seconds.

    15 chunks of 8 MiB per second are 1 Gbit/s. loss: chance that a message is lost, and its stream with it.
    noticed: how long until the end of a stream, or of a connection, is noticed after a crash.
    settle: how long after a change of members a coordinator waits before it grants. one_coordinator: two
    reads of a chunk at a time break the run even when two coordinators granted them. uploads: how many a
    node serves at a time; queue: how many more wait, others are told that it is full. in_order: the first
    chunks are wanted first.
    """

    chunks: int = 128
    link: float = 15.0
    source: float = 15.0
    latency: float = 0.0005
    loss: float = 0.0
    noticed: float = 0.5
    uploads: int = 4
    queue: int = 0
    fetch: FetchLimits = field(default_factory=FetchLimits)
    grants: SourceLimits = field(default_factory=SourceLimits)
    settle: float = 2.0
    one_coordinator: bool = True
    in_order: bool = False


class Broken(AssertionError):
    """An invariant did not hold."""


def hash_of(chunk: int) -> bytes:
    return b"%032d" % chunk


class Node:
    """One daemon. `lies`: serves wrong bytes; `stalls`: takes requests and sends nothing."""

    def __init__(self, world: World, number: int, up: float, down: float, zone: str) -> None:
        self.world = world
        self.name = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}:7000"
        self.member = Member(self.name, zone)
        self.up = Link(world.time, up, sends=True)
        self.down = Link(world.time, down, sends=False)
        self.live = False
        self.life = 0
        self.lies = self.stalls = self.mute = False
        self.have = 0
        self.participant: Participant | None = None
        self.health = Health()
        self.coordinator: Coordinator | None = None
        self.coordinator_wake = float("inf")
        self.seats: dict[str, int] = {}
        self.chosen: str | None = None
        self.stream = 0
        self.flows: dict[tuple[int, str | None], Flow | None] = {}
        self.serving: dict[tuple[Node, int], bool] = {}  # in order; True when it has begun
        self.sent: Counter[int] = Counter()
        self.coordinator_sent: Counter[int] = Counter()
        self.full = 0
        self.began = 0.0
        self.finished: float | None = None
        self.waited_for = False
        self.wake = float("inf")


class World:
    """All nodes, the source, and who can reach whom. said: called with each message that is sent."""

    def __init__(self, conditions: Conditions, seed: int) -> None:
        self.conditions = conditions
        self.seed = seed
        self.rng = random.Random(seed)
        self.time = Timeline()
        self.source = Link(self.time, conditions.source, sends=True)
        self.nodes: dict[str, Node] = {}
        self.reading: dict[int, tuple[str, str | None]] = {}
        self.streams: dict[frozenset[str], int] = {}
        self.apart: Callable[[str, str], bool] = lambda one, other: False
        self.bans = 0
        self.changed_at = -1e9
        self.messages: Counter[str] = Counter()
        self.said: Callable[[Message], object] = lambda message: None
        self.fetches = 0
        self.waiting = 0
        self._stream_number = 0

    # Building.

    def add(self, *, up: float = 1.0, down: float = 1.0, zone: str = "", have: int = 0) -> Node:
        """A node whose link is so many times the usual one; it is not started yet."""
        link = self.conditions.link
        node = Node(self, len(self.nodes), up * link, down * link, zone)
        node.have = have
        self.nodes[node.name] = node
        return node

    def boot(self, node: Node) -> None:
        """The daemon starts, with nothing to do yet but to coordinate."""
        node.live = True
        node.life += 1
        node.health = Health()
        node.coordinator = None
        node.participant = None
        node.seats = {}
        node.chosen = None
        node.stream = 0
        node.flows = {}
        self.tell_members(but=node)

    def start(self, node: Node, *, wants: bool = True) -> None:
        """The node takes part; its daemon starts unless it runs."""
        if not node.live:
            self.boot(node)
        node.began = self.time.now
        node.finished = None
        node.wake = float("inf")
        node.waited_for = wants and node.have != all_bits(self.conditions.chunks)
        self.waiting += node.waited_for
        node.participant = Participant(
            TREE,
            self.conditions.chunks,
            self.conditions.chunks * CHUNK,
            node.member,
            node.name,
            node.have,
            {},
            self.conditions.fetch,
            node.health,
            random.Random(self.rng.random()),
            wants=wants,
            in_order=self.conditions.in_order,
        )
        self.act(node, node.participant.start(self.time.now, self.members()))

    def start_all(self) -> None:
        """All nodes that were added start at once, and know each other."""
        for node in self.nodes.values():
            self.boot(node)
        for node in self.nodes.values():
            self.start(node)

    def crash(self, node: Node, *, forget: bool = True) -> None:
        """The daemon dies; others notice a little later."""
        self.waiting -= node.waited_for
        node.waited_for = False
        node.live = False
        node.have = 0 if forget or node.participant is None else node.participant.have
        for chunk, member in list(node.flows):
            self.stop(node, chunk, member)
        noticed = self.conditions.noticed
        for pair in [pair for pair in self.streams if node.name in pair]:
            number = self.streams.pop(pair)
            (other,) = pair - {node.name}
            self.time.after(noticed, self.stream_ended, self.nodes[other], node.name, number)
        for taker, chunk in list(node.serving):
            self.time.after(noticed, self.fetch_failed, taker, chunk, node, Failure.GONE)
        node.serving.clear()
        for one in self.nodes.values():
            if one.live and one.chosen == node.name:
                self.time.after(noticed, self.coordinator_ended, one, one.stream)
        if node.chosen is not None and node.chosen != node.name:
            self.time.after(noticed, self.seat_ended, self.nodes[node.chosen], node.name, node.stream)
        self.time.after(noticed * 4, self.tell_members)

    def spoil(self, node: Node, chunks: int) -> None:
        """`chunks` turn out wrong after the node had all."""
        assert node.participant is not None
        node.waited_for = True
        self.waiting += 1
        self.act(node, node.participant.spoiled(self.time.now, chunks))

    def members(self) -> list[Member]:
        return [node.member for node in self.nodes.values() if node.live]

    def tell_members(self, but: Node | None = None) -> None:
        if self.time.now == 0.0:
            return
        self.changed_at = self.time.now
        members = self.members()
        for node in self.nodes.values():
            if node.live and node is not but and node.participant is not None:
                self.act(node, node.participant.members_changed(self.time.now, members))

    def split(self, apart: Callable[[str, str], bool]) -> None:
        """From now on some nodes do not reach others; streams between them end after a while."""
        self.apart = apart
        noticed = self.conditions.noticed
        for pair in [pair for pair in self.streams if apart(*sorted(pair))]:
            number = self.streams.pop(pair)
            one, two = sorted(pair)
            self.time.after(noticed, self.stream_ended, self.nodes[one], two, number)
            self.time.after(noticed, self.stream_ended, self.nodes[two], one, number)
        for node in self.nodes.values():
            if node.live and node.chosen is not None and apart(node.name, node.chosen):
                self.time.after(noticed, self.coordinator_ended, node, node.stream)
                self.time.after(noticed, self.seat_ended, self.nodes[node.chosen], node.name, node.stream)
            for taker, chunk in list(node.serving):
                if apart(node.name, taker.name):
                    self.time.after(noticed, self.fetch_failed, taker, chunk, node, Failure.GONE)

    def heal(self) -> None:
        self.apart = lambda one, other: False

    def run(self, until: float) -> None:
        """Until all that want the tree have it, or that time."""
        self.time.run(until, lambda: self.waiting == 0)

    # Events.

    def act(self, node: Node, actions: Iterable[Action]) -> None:
        """Do what a participant wants."""
        for action in actions:
            self.do(node, action)
        participant = node.participant
        assert participant is not None
        wake = participant.wake_at
        if wake < node.wake:
            node.wake = wake
            self.time.at(wake, self.tick, node, node.life, wake)

    def tick(self, node: Node, life: int, wake: float) -> None:
        if node.life == life and node.live and wake == node.wake:
            node.wake = float("inf")
            assert node.participant is not None
            self.act(node, node.participant.tick(self.time.now))

    def do(self, node: Node, action: Action) -> None:
        now = self.time.now
        latency = self.conditions.latency
        match action:
            case SendNeighbour(member, message):
                pair = frozenset((node.name, member))
                number = self.streams.get(pair)
                if number is not None:
                    self.count(node.sent, message)
                    self.send(self.heard, node, self.nodes[member], number, message)
            case Fetch(chunk, None):
                self.read_source(node, chunk)
            case Fetch(chunk, str(member)):
                self.fetch(node, chunk, self.nodes[member])
            case Cancel(chunk, member):
                self.stop(node, chunk, member)
            case SendCoordinator(message):
                assert node.chosen is not None
                self.count(node.sent, message)
                coordinator = self.nodes[node.chosen]
                wait = latency if coordinator is not node else 0.0
                if self.rng.random() < self.conditions.loss:
                    self.time.after(wait, self.coordinator_ended, node, node.stream)
                    self.time.after(wait, self.seat_ended, coordinator, node.name, node.stream)
                else:
                    self.time.after(wait, self.coordinator_heard, coordinator, node, node.stream, message)
            case TellHashes(chunks):
                told = {chunk: hash_of(chunk) for chunk in each_bit(chunks)}
                self.do(node, SendCoordinator(Have(chunks, told)))
            case ChooseCoordinator(member):
                if node.chosen is not None:
                    self.time.after(latency, self.seat_ended, self.nodes[node.chosen], node.name, node.stream)
                self._stream_number += 1
                node.stream = self._stream_number
                node.chosen = member
                other = self.nodes[member]
                if not other.live:
                    self.time.after(latency, self.coordinator_ended, node, node.stream)
            case Connect(member):
                other = self.nodes[member]
                if other.live and not self.apart(node.name, member):
                    self.time.after(2 * latency, self.open_stream, node, other)
                else:
                    self.time.after(2 * latency, self.stream_ended, node, member, None)
            case Disconnect(member):
                pair = frozenset((node.name, member))
                number = self.streams.pop(pair, None)
                if number is not None:
                    self.time.after(latency, self.stream_ended, self.nodes[member], node.name, number)
            case Knock(member):
                other = self.nodes[member]
                if other.live and not other.mute and not self.apart(node.name, member):
                    self.time.after(2 * latency, self.answered, node, node.life, member)
            case Ban():
                self.bans += 1
            case Complete():
                node.finished = now
                self.waiting -= node.waited_for
                node.waited_for = False

    def count(self, sent: Counter[int], message: Message) -> None:
        """A message goes out in this second."""
        self.messages[type(message).__name__] += 1
        sent[int(self.time.now)] += 1
        self.said(message)

    # Streams.

    def send(self, what: Callable[..., None], node: Node, other: Node, number: int, message: object) -> None:
        if self.conditions.loss and self.rng.random() < self.conditions.loss:
            self.streams.pop(frozenset((node.name, other.name)), None)
            self.time.after(self.conditions.latency, self.stream_ended, node, other.name, number)
            self.time.after(self.conditions.latency, self.stream_ended, other, node.name, number)
        else:
            self.time.after(self.conditions.latency, what, other, node.name, number, message)

    def heard(self, node: Node, sender: str, number: int, message: object) -> None:
        if node.live and self.streams.get(frozenset((node.name, sender))) == number:
            assert node.participant is not None
            self.act(node, node.participant.heard(self.time.now, sender, message))  # type: ignore[arg-type]

    def open_stream(self, node: Node, other: Node) -> None:
        if not (node.live and other.live and other.participant):
            if node.live:
                self.stream_ended(node, other.name, None)
            return
        self._stream_number += 1
        self.streams[frozenset((node.name, other.name))] = self._stream_number
        for one, two in ((node, other), (other, node)):
            assert one.participant is not None
            self.act(one, one.participant.connected(self.time.now, two.name))

    def stream_ended(self, node: Node, other: str, number: int | None) -> None:
        if node.live and frozenset((node.name, other)) not in self.streams:
            assert node.participant is not None
            self.act(node, node.participant.disconnected(self.time.now, other))

    def coordinator_heard(self, node: Node, sender: Node, stream: int, message: object) -> None:
        if not node.live or node.mute or sender.stream != stream or self.apart(node.name, sender.name):
            return
        node.seats[sender.name] = stream
        if node.coordinator is None:
            if not isinstance(message, Hello):
                return
            seed = random.Random(self.rng.random())
            settled_at = self.changed_at + self.conditions.settle
            node.coordinator = Coordinator(TREE, self.conditions.grants, seed, settled_at)
            node.coordinator_wake = float("inf")
        now = self.time.now
        if isinstance(message, Hello):
            sends = node.coordinator.hello(now, sender.name, message)
        else:
            sends = node.coordinator.message(now, sender.name, message)  # type: ignore[arg-type]
        self.coordinate(node, sends)

    def seat_ended(self, node: Node, member: str, stream: int) -> None:
        if node.live and node.coordinator is not None and node.seats.get(member) == stream:
            del node.seats[member]
            self.coordinate(node, node.coordinator.lost(self.time.now, member))

    def coordinate(self, node: Node, sends: list[Send]) -> None:
        """Do what a coordinator wants."""
        for say in sends:
            member = self.nodes[say.member]
            self.count(node.coordinator_sent, say.message)
            if (
                self.conditions.loss
                and self.rng.random() < self.conditions.loss
                and not isinstance(say.message, Refused)
            ):
                self.time.after(self.conditions.latency, self.coordinator_ended, member, member.stream)
                self.time.after(self.conditions.latency, self.seat_ended, node, member.name, member.stream)
            else:
                wait = self.conditions.latency if member is not node else 0.0
                stream = node.seats.get(member.name, member.stream)
                self.time.after(wait, self.told, member, node, stream, say)
        assert node.coordinator is not None
        wake = node.coordinator.wake_at
        if wake < node.coordinator_wake:
            node.coordinator_wake = wake
            self.time.at(wake, self.coordinator_tick, node, node.life, wake)

    def coordinator_tick(self, node: Node, life: int, wake: float) -> None:
        if node.live and node.life == life and node.coordinator and node.coordinator_wake == wake:
            node.coordinator_wake = float("inf")
            self.coordinate(node, node.coordinator.tick(self.time.now))

    def told(self, member: Node, node: Node, stream: int, say: Send) -> None:
        if self.apart(member.name, node.name):
            return
        if member.live and member.chosen == node.name and member.stream == stream:
            assert member.participant is not None
            self.act(member, member.participant.told(self.time.now, say.message))

    def coordinator_ended(self, node: Node, stream: int) -> None:
        if node.live and node.stream == stream:
            assert node.participant is not None
            self.act(node, node.participant.coordinator_lost(self.time.now))

    def answered(self, node: Node, life: int, member: str) -> None:
        if node.live and node.life == life:
            assert node.participant is not None
            self.act(node, node.participant.answered(self.time.now, member))

    # Bytes.

    def read_source(self, node: Node, chunk: int) -> None:
        reader, grantor = self.reading.get(chunk, ("", None))
        assert node.participant is not None
        granted = not node.participant.alone
        if reader and granted and (self.conditions.one_coordinator or grantor == node.chosen):
            raise Broken(f"{node.name} and {reader} read chunk {chunk} at {self.time.now}")
        self.reading[chunk] = node.name, node.chosen if granted else None
        node.flows[chunk, None] = None
        self.time.after(2 * self.conditions.latency, self.source_answers, node, node.life, chunk)

    def source_answers(self, node: Node, life: int, chunk: int) -> None:
        if node.life != life or not node.live or (chunk, None) not in node.flows:
            return
        node.flows[chunk, None] = send(self.source, node.down, lambda: self.arrived(node, chunk, None))

    def fetch(self, node: Node, chunk: int, other: Node) -> None:
        self.fetches += 1
        fetch = self.conditions.fetch
        if node.health.banned(self.time.now, other.name):
            raise Broken(f"{node.name} asks {other.name}, which is banned")
        asked = [member for _, member in node.flows if member == other.name]
        if len(asked) >= fetch.downloads:  # as many only of one that holds alone what is wanted
            raise Broken(f"{node.name} asks {other.name} for more than {fetch.downloads} chunks at a time")
        node.flows[chunk, other.name] = None
        if other.live and not self.apart(node.name, other.name):
            self.time.after(2 * self.conditions.latency, self.serve, other, node, node.life, chunk)
        else:
            self.time.after(self.conditions.noticed, self.fetch_failed, node, chunk, other, Failure.GONE)

    def serve(self, node: Node, taker: Node, life: int, chunk: int) -> None:
        if taker.life != life or not taker.live or (chunk, node.name) not in taker.flows:
            return
        if not node.live or node.participant is None:
            self.time.after(self.conditions.noticed, self.fetch_failed, taker, chunk, node, Failure.GONE)
        elif len(node.serving) >= self.conditions.uploads + self.conditions.queue:
            node.full += 1
            self.fetch_failed(taker, chunk, node, Failure.FULL)
        else:
            assert node.participant is not None
            if not node.participant.have >> chunk & 1 and not node.lies:
                self.fetch_failed(taker, chunk, node, Failure.MISSING)
                return
            node.serving[taker, chunk] = False
            self.serve_next(node)

    def serve_next(self, node: Node) -> None:
        assert node.participant is not None
        node.participant.load = len(node.serving)
        for (taker, chunk), begun in list(node.serving.items())[: self.conditions.uploads]:
            if not begun and not node.stalls:
                node.serving[taker, chunk] = True
                arrived = partial(self.arrived, taker, chunk, node)
                taker.flows[chunk, node.name] = send(node.up, taker.down, arrived)

    def served(self, node: Node, taker: Node, chunk: int) -> None:
        if node.serving.pop((taker, chunk), None) is not None:
            self.serve_next(node)

    def arrived(self, node: Node, chunk: int, other: Node | None) -> None:
        if not node.live or (chunk, other.name if other else None) not in node.flows:
            return
        assert node.participant is not None
        if other is not None and other.lies:
            self.fetch_failed(node, chunk, other, Failure.VERIFY)
            return
        self.stop(node, chunk, other.name if other else None)
        name = other.name if other else None
        self.act(node, node.participant.received(self.time.now, chunk, name, hash_of(chunk)))

    def fetch_failed(self, node: Node, chunk: int, other: Node, why: Failure) -> None:
        if node.live and (chunk, other.name) in node.flows:
            self.stop(node, chunk, other.name)
            assert node.participant is not None
            self.act(node, node.participant.failed(self.time.now, chunk, other.name, why))

    def stop(self, node: Node, chunk: int, member: str | None) -> None:
        """The fetch is over, for whatever reason."""
        if (chunk, member) not in node.flows:
            return
        flow = node.flows.pop((chunk, member))
        if flow is not None:
            flow.dead = True
        if member is None:
            if self.reading.get(chunk, ("",))[0] == node.name:
                del self.reading[chunk]
        else:
            self.served(self.nodes[member], node, chunk)

    # Figures.

    @property
    def source_reads(self) -> float:
        """Bytes that left the source, in sizes of the tree."""
        return self.source.moved / SEGMENTS / self.conditions.chunks

    @property
    def ideal(self) -> float:
        """Seconds that a link needs for the tree."""
        return self.conditions.chunks / self.conditions.link

    @property
    def last(self) -> float:
        """When the last node that wanted the tree had it; endless if one has not."""
        ends = [node.finished for node in self.nodes.values() if node.live and node.participant]
        return max((end if end is not None else float("inf")) for end in ends)


def everything(conditions: Conditions) -> int:
    return all_bits(conditions.chunks)


def cold(
    count: int, conditions: Conditions, seed: int, said: Callable[[Message], object] = lambda message: None
) -> World:
    """So many equal nodes, all cold, all starting within a blink."""
    world = World(conditions, seed)
    world.said = said
    for _ in range(count):
        world.add()
    world.start_all()
    return world
