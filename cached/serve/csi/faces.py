"""The methods of the three services: check, delegate, convert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue

from cached import __version__
from cached._proto.csi.v1 import csi_pb2 as csi
from cached._proto.pluginregistration.v1 import api_pb2 as registration
from cached.core.errors import NotConfigured
from cached.engine.publish.volume import Volume
from cached.serve.csi.checks import check_use, checked_id, checked_target, namespace_of, wanted
from cached.serve.csi.port import Volumes
from cached.serve.rpc.guard import Context

# Kubelet's calls last two minutes. One that ends before says how far a model is, one that runs out nothing.
LONGEST: Final = 110.0
_MARGIN: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plugin:
    """driver: its name. node: this node's. endpoint: the socket, as kubelet reaches it."""

    driver: str
    node: str
    endpoint: Path


class IdentityFace:
    """`csi.v1.Identity`."""

    def __init__(self, plugin: Plugin, volumes: Volumes, healthy: Callable[[], bool]) -> None:
        self._plugin = plugin
        self._volumes = volumes
        self._healthy = healthy

    async def GetPluginInfo(
        self, request: csi.GetPluginInfoRequest, context: Context
    ) -> csi.GetPluginInfoResponse:
        return csi.GetPluginInfoResponse(name=self._plugin.driver, vendor_version=__version__)

    async def GetPluginCapabilities(
        self, request: csi.GetPluginCapabilitiesRequest, context: Context
    ) -> csi.GetPluginCapabilitiesResponse:
        return csi.GetPluginCapabilitiesResponse()

    async def Probe(self, request: csi.ProbeRequest, context: Context) -> csi.ProbeResponse:
        if not self._healthy():
            raise NotConfigured("the disk of the data directory is gone", hint="cachectl status says more")
        return csi.ProbeResponse(ready=BoolValue(value=self._volumes.ready))


class NodeFace:
    """`csi.v1.Node`."""

    def __init__(self, plugin: Plugin, volumes: Volumes) -> None:
        self._plugin = plugin
        self._volumes = volumes

    async def NodePublishVolume(
        self, request: csi.NodePublishVolumeRequest, context: Context
    ) -> csi.NodePublishVolumeResponse:
        volume, target = checked_id(request), checked_target(request)
        check_use(request)
        attributes = request.volume_context
        ref, place = wanted(attributes), self._volumes.place(target)
        await self._volumes.publish(
            Volume(volume, place, ref, namespace_of(attributes)), patience(context.time_remaining())
        )
        return csi.NodePublishVolumeResponse()

    async def NodeUnpublishVolume(
        self, request: csi.NodeUnpublishVolumeRequest, context: Context
    ) -> csi.NodeUnpublishVolumeResponse:
        checked_id(request)
        await self._volumes.unpublish(checked_target(request))
        return csi.NodeUnpublishVolumeResponse()

    async def NodeGetCapabilities(
        self, request: csi.NodeGetCapabilitiesRequest, context: Context
    ) -> csi.NodeGetCapabilitiesResponse:
        return csi.NodeGetCapabilitiesResponse()

    async def NodeGetInfo(self, request: csi.NodeGetInfoRequest, context: Context) -> csi.NodeGetInfoResponse:
        return csi.NodeGetInfoResponse(node_id=self._plugin.node)


class RegistrationFace:
    """`pluginregistration.Registration`: how kubelet learns of the plugin, without a sidecar."""

    def __init__(self, plugin: Plugin, told: Callable[[bool, str], None]) -> None:
        """`told` hears whether kubelet took the plugin on, and else why not."""
        self._plugin = plugin
        self._told = told

    async def GetInfo(self, request: registration.InfoRequest, context: Context) -> registration.PluginInfo:
        return registration.PluginInfo(
            type="CSIPlugin",
            name=self._plugin.driver,
            endpoint=str(self._plugin.endpoint),
            supported_versions=["1.0.0"],
        )

    async def NotifyRegistrationStatus(
        self, request: registration.RegistrationStatus, context: Context
    ) -> registration.RegistrationStatusResponse:
        self._told(request.plugin_registered, request.error)
        return registration.RegistrationStatusResponse()


def patience(remaining: float | None) -> float:
    """Seconds to hold a call that has so many left, or any number."""
    if remaining is None:
        return LONGEST
    return max(0.0, min(LONGEST, remaining - min(_MARGIN, remaining / 10)))
