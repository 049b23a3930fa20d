"""The gRPC servers of the node API."""

from __future__ import annotations

import asyncio
from typing import Final

from cached._proto.v1 import cache_pb2, operator_pb2
from cached.serve.api.errors import refusal
from cached.serve.api.faces import CacheFace, OperatorFace
from cached.serve.api.port import Engine
from cached.serve.rpc.door import Door
from cached.serve.rpc.guard import Guard
from cached.serve.rpc.sockets import Listen
from cached.telemetry.metrics import Metrics

CACHE: Final = cache_pb2.DESCRIPTOR.services_by_name["CacheService"]
OPERATOR: Final = operator_pb2.DESCRIPTOR.services_by_name["OperatorService"]


class ApiServer:
    """The node API on two sockets: the pods' offers `CacheService`, the operators' both services.

    Health says NOT_SERVING until `set_serving(True)`.
    """

    def __init__(self, engine: Engine, metrics: Metrics, *, pods: Listen, operators: Listen) -> None:
        self._doors = (
            Door(pods, Guard(metrics, refusal), {CACHE: CacheFace(engine, for_operators=False)}),
            Door(
                operators,
                Guard(metrics, refusal),
                {CACHE: CacheFace(engine, for_operators=True), OPERATOR: OperatorFace(engine)},
            ),
        )

    async def start(self) -> None:
        """Listen on both sockets, or on none. Raises NotConfigured or Busy, naming the path."""
        try:
            for door in self._doors:
                await door.open()
        except BaseException:
            await self.stop(0)
            raise

    async def set_serving(self, serving: bool) -> None:
        """Tell those who ask for health, and those who watch it."""
        for door in self._doors:
            await door.set_serving(serving)

    async def stop(self, grace: float) -> None:
        """Take no new call, give those under way `grace` seconds, cancel the rest, remove the sockets.

        Returns when all handlers have left the engine. Health is NOT_SERVING from the first moment.
        Cancelling it cuts the grace short for nobody: call again with 0.
        """
        await asyncio.gather(*(door.close(grace) for door in self._doors))
