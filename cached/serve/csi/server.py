"""The servers of the CSI node plugin."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from cached._proto.csi.v1 import csi_pb2
from cached._proto.pluginregistration.v1 import api_pb2
from cached.serve.csi.errors import answer
from cached.serve.csi.faces import IdentityFace, NodeFace, Plugin, RegistrationFace
from cached.serve.csi.port import Volumes
from cached.serve.rpc.door import Door
from cached.serve.rpc.guard import Guard
from cached.serve.rpc.sockets import Listen
from cached.telemetry.metrics import Metrics

__all__ = ["CsiServer", "Plugin"]

log = logging.getLogger(__name__)

IDENTITY: Final = csi_pb2.DESCRIPTOR.services_by_name["Identity"]
NODE: Final = csi_pb2.DESCRIPTOR.services_by_name["Node"]
REGISTRATION: Final = api_pb2.DESCRIPTOR.services_by_name["Registration"]


class CsiServer:
    """Identity and Node on the plugin's socket, and Registration on one where kubelet looks for plugins."""

    def __init__(
        self,
        plugin: Plugin,
        volumes: Volumes,
        healthy: Callable[[], bool],
        registration: Path,
        metrics: Metrics,
    ) -> None:
        """registration: path of the second socket. healthy: whether there is a disk to publish from."""
        identity = IdentityFace(plugin, volumes, healthy)
        self.refusal = ""
        self._plugin = plugin
        self._doors = (
            Door(
                Listen(plugin.endpoint, setting="csi.socket"),
                Guard(metrics, answer),
                {IDENTITY: identity, NODE: NodeFace(plugin, volumes)},
            ),
            Door(
                Listen(registration, setting="csi.registration"),
                Guard(metrics, answer),
                {REGISTRATION: RegistrationFace(plugin, self._told)},
            ),
        )

    async def start(self) -> None:
        """Listen on both sockets, the plugin's own first, or on none. Raises NotConfigured or Busy."""
        try:
            for door in self._doors:
                await door.open()
                await door.set_serving(True)
        except BaseException:
            await self.stop(0)
            raise

    async def stop(self, grace: float) -> None:
        """Take no new call, give those under way `grace` seconds, cancel the rest, remove the sockets.

        Kubelet takes the plugin out of its list, until another presents itself.
        """
        await asyncio.gather(*(door.close(grace) for door in self._doors))

    def _told(self, registered: bool, error: str) -> None:
        self.refusal = "" if registered else error or "no reason given"
        if registered:
            log.info("kubelet has taken the plugin on", extra={"driver": self._plugin.driver})
        else:
            log.error(
                "kubelet refuses the plugin", extra={"driver": self._plugin.driver, "reason": self.refusal}
            )
