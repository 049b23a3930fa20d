"""Members that the Kubernetes API server names, with their zones."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing

from cached.cluster.access import Config, found_config, usable
from cached.core.clock import Clock
from cached.core.errors import NotConfigured
from cached.core.kubernetes import Unanswered
from cached.peers.membership.address import Address
from cached.peers.membership.apiserver import ApiServer, Event, Expired
from cached.peers.membership.endpoints import Endpoints
from cached.peers.membership.outage import Outage
from cached.peers.membership.port import Changed
from cached.peers.membership.roll import Roll

WATCH = (300.0, 600.0)
"""Seconds that a watch lasts: a random time between, so that a thousand nodes spread over the servers."""
PAUSE = (1.0, 30.0)
"""Seconds until a watch is resumed: at first, and after failing time and again."""
STEADY = 10.0
"""Seconds that a watch must have lasted for the next pause to be short again."""


class SliceMembers:
    """The EndpointSlices of one Service, by list and watch. Implements `Membership`.

    At rest a node asks nothing: the server tells what changes, over one connection. A watch that ends
    goes on where it was; all is listed anew only when the server has forgotten that place.
    """

    def __init__(
        self,
        service: str,
        advertise: Address,
        clock: Clock,
        rng: random.Random,
        config: Config = found_config,
        pause: tuple[float, float] = PAUSE,
    ) -> None:
        """`service` is namespace/name. Raises NotConfigured when it is not, or there is no cluster."""
        self._namespace, slash, self._service = service.partition("/")
        if not (self._namespace and slash and self._service) or "/" in self._service:
            raise NotConfigured(
                f"peers.members.endpoint_slices: {service!r} names no Service", hint="write namespace/service"
            )
        self.source = f"endpoint slices {service}"
        self._advertise = advertise
        self._clock = clock
        self._rng = rng
        self._config = config
        self._pause = pause
        usable(config, self.source)

    async def follow(self, changed: Changed) -> None:
        outage = Outage(self.source, self._clock)
        reflection = _Reflection(Endpoints(self._advertise), Roll(changed), outage, self._rng)
        least, most = self._pause
        pause = least / 2
        while True:
            began = self._clock.monotonic()
            try:
                # Made anew each time: the CA, the token or the kubeconfig may have been replaced meanwhile.
                config = usable(self._config, self.source)
                async with ApiServer(config, self._namespace, self._service) as server:
                    await reflection.keep(server)
            except (Unanswered, NotConfigured) as error:
                outage.noticed(str(error))
            pause = least if self._clock.monotonic() - began >= STEADY else min(pause * 2, most)
            await asyncio.sleep(pause * self._rng.uniform(0.5, 1))


class _Reflection:
    """What is known of the slices, kept as the server has it."""

    def __init__(self, endpoints: Endpoints, roll: Roll, outage: Outage, rng: random.Random) -> None:
        self._endpoints = endpoints
        self._roll = roll
        self._outage = outage
        self._rng = rng
        self._version: str | None = None
        self._expired = False

    async def keep(self, server: ApiServer) -> None:
        """Until the watch ends; call it again then. Raises Unanswered."""
        try:
            if self._version is None:
                self._version, slices = await server.list(newest=self._expired)
                self._endpoints.replace(slices)
                self._roll.call(self._endpoints.members())
            watch = server.watch(self._version, round(self._rng.uniform(*WATCH)))
            async with aclosing(watch) as events:
                async for event in events:
                    self._outage.over()
                    self._apply(event)
        except Expired:
            self._version, self._expired = None, True

    def _apply(self, event: Event) -> None:
        self._version = event.version
        if event.kind == "put":
            self._endpoints.put(event.slice)
        elif event.kind == "removed":
            self._endpoints.remove(event.slice)
        self._roll.call(self._endpoints.members())
