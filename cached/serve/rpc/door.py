"""A gRPC server at a unix socket."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final
from urllib.parse import quote

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cached.core.errors import NotConfigured
from cached.serve.rpc.guard import Guard
from cached.serve.rpc.sockets import Listen, SocketFile

log = logging.getLogger(__name__)

# Beyond this, calls are refused at once rather than kept in memory; for each socket by itself, so that
# pods cannot keep the operator out.
MAX_CALLS: Final = 8192
# How long grpc gets to end quietly once our calls are done; what is left is cut off, and clients log that.
SETTLE_SECONDS: Final = 0.1
# How long a cancelled handler may take to leave the engine before a stop goes on without it.
LEAVE_SECONDS: Final = 2.0


class Door:
    """One server at one socket. Health says NOT_SERVING until `set_serving(True)`."""

    def __init__(self, listen: Listen, guard: Guard, faces: dict[ServiceDescriptor, object]) -> None:
        self._name = str(listen.path)
        self._setting = listen.setting
        self._socket = SocketFile(listen)
        self._guard = guard
        self._services = [service.full_name for service in faces]
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]  # the stubs are older
        self._server = grpc.aio.server(maximum_concurrent_rpcs=MAX_CALLS)
        for service, face in faces.items():
            self._server.add_generic_rpc_handlers((_handlers(service, face, guard),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*self._services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )

    async def open(self) -> None:
        await self.set_serving(False)
        draft = self._socket.draft()
        try:
            self._server.add_insecure_port(f"unix:{quote(str(draft))}")  # grpc reads it as a URI
        except RuntimeError as error:
            raise NotConfigured(
                f"cannot listen at {self._name}: {error}",
                hint=f"set {self._setting} to a directory of a filesystem that can hold sockets",
            ) from error
        await self._server.start()
        self._socket.publish()
        log.info("listening", extra={"socket": self._name})

    async def set_serving(self, serving: bool) -> None:
        states = health_pb2.HealthCheckResponse
        for name in ("", *self._services):
            await self._health.set(name, states.SERVING if serving else states.NOT_SERVING)

    async def close(self, grace: float) -> None:
        await self._health.enter_graceful_shutdown()
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._server.stop(grace))
            # A health watch or a reflection stream never ends by itself, and nobody should wait for
            # one: the grace is for our own calls.
            if not await self._idle_within(grace):
                log.warning("calls are cut off at the end of the grace", extra={"socket": self._name})
            await asyncio.wait({stopping}, timeout=SETTLE_SECONDS)
            if not stopping.done():
                await self._server.stop(None)
        # grpc may return before an aborted handler has ended, and the engine closes next.
        if not await self._idle_within(LEAVE_SECONDS):
            log.error("a handler does not end", extra={"socket": self._name})
        self._socket.remove()

    async def _idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._guard.idle()
        except TimeoutError:
            return False
        return True


def _handlers(service: ServiceDescriptor, face: object, guard: Guard) -> grpc.GenericRpcHandler[Any, Any]:
    """Each method of the service, guarded; a method without a handler fails here and now."""
    table = {}
    for method in service.methods:
        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        request = message_factory.GetMessageClass(method.input_type)
        response = message_factory.GetMessageClass(method.output_type)
        table[method.name] = make(
            guard.around(method.name, getattr(face, method.name)),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, table)
