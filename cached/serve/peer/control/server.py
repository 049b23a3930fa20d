"""The gRPC server that other members speak to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from cached._proto.v1 import peer_pb2
from cached.core.digest import Digest
from cached.core.errors import NotConfigured
from cached.peers import wire
from cached.peers.dialled import TAKES_PART
from cached.peers.tuning import SERVER
from cached.serve.peer.control.caller import Callers, Context, Vouching
from cached.serve.peer.control.guard import Guard
from cached.serve.peer.control.refusal import Turned
from cached.serve.peer.control.stream import Called, Place
from cached.swarm.lines import Swarms
from cached.swarm.messages import VERSION, FromCoordinator, FromParticipant, Hello, Holding, Refused
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_MOST_CALLS: Final = 20_000
_FIRST_SECONDS: Final = 5.0  # for a caller to say who it is
# How long streams that were told to end may take, beyond which nothing is lost by cutting them.
_SETTLE_SECONDS: Final = 0.5


class ControlServer:
    """`PeerService`: seats in the swarms that this node coordinates, and visits of its neighbours."""

    def __init__(
        self,
        listen: str,
        swarms: Swarms,
        identity: Vouching | None,
        is_member: Callable[[str], bool],
        metrics: Metrics,
    ) -> None:
        """`listen` is `host:port`. `identity` is None for plaintext: whoever names a member is believed."""
        self._listen = listen
        self._swarms = swarms
        self._identity = identity
        self._callers = Callers(identity, is_member)
        self._guard = Guard(metrics)
        self._server: grpc.aio.Server | None = None
        self._streams: dict[tuple[str, str, Digest], Called[Any, Any]] = {}
        self._encode = _Once()

    @property
    def streams(self) -> int:
        """Open now, of all members."""
        return self._guard.streams

    async def start(self) -> int:
        """Listen; returns the port. Raises NotConfigured, naming the address."""
        server = grpc.aio.server(options=SERVER, maximum_concurrent_rpcs=_MOST_CALLS)
        service = peer_pb2.DESCRIPTOR.services_by_name["PeerService"]
        stream, unary = grpc.stream_stream_rpc_method_handler, grpc.unary_unary_rpc_method_handler
        table = {
            "Coordinate": stream(self._guard.around("Coordinate", self._coordinate)),
            "Exchange": stream(self._guard.around("Exchange", self._exchange)),
            "Knock": unary(self._guard.around("Knock", self._knock)),
            "Survey": unary(self._guard.around("Survey", self._survey)),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, table),))
        try:
            if self._identity is None:
                port = server.add_insecure_port(self._listen)
            else:
                port = server.add_secure_port(self._listen, self._identity.server_credentials())
        except RuntimeError as error:
            raise NotConfigured(
                f"cannot listen for other nodes at {self._listen}",
                hint="set peers.listen to an address of this node and a port that is free",
            ) from error
        await server.start()
        self._server = server
        return port

    async def stop(self, grace: float) -> None:
        """Take no new call and end all streams, in good order within `grace` seconds. Idempotent."""
        self._guard.drain()
        for stream in list(self._streams.values()):
            stream.close()
        if self._server is not None:
            await self._server.stop(min(grace, _SETTLE_SECONDS))
            # grpc may return before a handler that it cut off has ended.
            await self._guard.idle(_SETTLE_SECONDS)
            self._server = None

    async def _knock(self, request: bytes, context: Context) -> bytes:
        member = wire.decode_knock(request)
        self._callers.check(context, member)
        self._swarms.knocked(member)
        return wire.encode_knock_answer()

    async def _survey(self, request: bytes, context: Context) -> bytes:
        tree, member = wire.decode_survey_request(request)
        self._callers.check(context, member)
        survey = self._swarms.survey(tree)
        if survey is None:
            raise Turned(grpc.StatusCode.NOT_FOUND, f"this node does not coordinate {tree}")
        return wire.encode_survey(survey)

    async def _coordinate(self, _: object, context: Context) -> None:
        first = await _first(context)
        if wire.version_of(first) not in (None, VERSION):
            reason = f"this node speaks version {VERSION} of the swarm's messages"
            await context.write(wire.encode_coordinator(Refused(reason)))
            return
        hello = wire.decode_participant(first)
        if not isinstance(hello, Hello):
            raise wire.Malformed("the first message is no hello")
        member = hello.member.address
        self._callers.check(context, member)
        line: Called[FromCoordinator, FromParticipant] = Called(self._encode, wire.decode_participant)
        with self._kept("Coordinate", member, hello.tree, line):
            place = self._swarms.sit(member, hello, line)
            await self._carry(context, line, place)

    async def _exchange(self, _: object, context: Context) -> None:
        opened = wire.decode_exchange_request(await _first(context))
        if not isinstance(opened, wire.Open):
            raise wire.Malformed("the first message is no open")
        if opened.version != VERSION:
            text = f"this node speaks version {VERSION} of the swarm's messages, not {opened.version}"
            raise Turned(grpc.StatusCode.FAILED_PRECONDITION, text)
        self._callers.check(context, opened.member)
        line: Called[Holding, Holding] = Called(wire.encode_exchange_response, _later)
        with self._kept("Exchange", opened.member, opened.tree, line):
            visitor = self._swarms.visit(opened.member, opened.tree, line)
            if visitor is None:
                raise Turned(grpc.StatusCode.NOT_FOUND, f"this node takes no part in {opened.tree}")
            await self._carry(context, line, visitor)

    async def _carry(self, context: Context, line: Called[Any, Any], place: Place[Any]) -> None:
        line.taken(place)
        await context.send_initial_metadata(((TAKES_PART, "1"),))
        await line.run(context)

    @contextmanager
    def _kept(self, kind: str, member: str, tree: Digest, line: Called[Any, Any]) -> Iterator[None]:
        """Known by its member and tree; an older stream of the same loses its place first."""
        key, extra = (kind, member, tree), {"method": kind, "peer": member, "tree": tree}
        older = self._streams.get(key)
        self._streams[key] = line
        if older is not None:
            older.replaced()
        log.debug("a member opened a stream", extra=extra)
        try:
            yield
        finally:
            if self._streams.get(key) is line:
                del self._streams[key]
            log.debug("a member's stream ended", extra=extra)
            line.lost()


async def _first(context: Context) -> bytes:
    async with asyncio.timeout(_FIRST_SECONDS):
        data = await context.read()
    if not isinstance(data, bytes):
        raise wire.Malformed("the stream ended before its first message")
    return data


def _later(data: bytes) -> Holding | None:
    """Any message of an exchange but the first."""
    message = wire.decode_exchange_request(data)
    if isinstance(message, wire.Open):
        raise wire.Malformed("a second open on one stream")
    return message


class _Once:
    """Encodes what is said to many members in a row only once."""

    def __init__(self) -> None:
        self._last: tuple[FromCoordinator, bytes] | None = None

    def __call__(self, message: FromCoordinator) -> bytes:
        if self._last is None or self._last[0] is not message:
            self._last = (message, wire.encode_coordinator(message))
        return self._last[1]
