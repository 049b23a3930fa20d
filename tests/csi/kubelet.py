"""What kubelet does to a CSI driver, as its own code does it (pkg/volume/csi, pkg/kubelet/pluginmanager)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from cached._proto.csi.v1 import csi_pb2 as csi
from cached._proto.csi.v1.csi_pb2_grpc import IdentityStub, NodeStub
from cached._proto.pluginregistration.v1 import api_pb2 as registration
from cached._proto.pluginregistration.v1.api_pb2_grpc import RegistrationStub

if TYPE_CHECKING:
    from cached._proto.csi.v1.csi_pb2_grpc import IdentityAsyncStub, NodeAsyncStub

TIMEOUT = 120.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 122.0
# After these, and only these, kubelet holds a volume for uncertain, and will unpublish it.
NOT_FINAL = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    }
)


class Kubelet:
    """Of one node, with its data at `root`. pace: real seconds for each of its pauses' seconds."""

    def __init__(self, root: Path, driver: str = "csi.cached.dev", pace: float = 0.02) -> None:
        self.root = root
        self.driver = driver
        self.pace = pace
        self.endpoint = ""
        (root / "pods").mkdir(parents=True, exist_ok=True)

    async def register(self) -> str:
        """Look for the driver where plugins present themselves; returns the node's name in it."""
        [socket] = [path for path in (self.root / "plugins_registry").iterdir() if path.name[0] != "."]
        async with _channel(str(socket)) as channel:
            plugin = RegistrationStub(channel)
            info = await plugin.GetInfo(registration.InfoRequest(), timeout=1)
            assert (info.type, info.name) == ("CSIPlugin", self.driver)
            assert any(version.startswith("1.") for version in info.supported_versions)
            self.endpoint = info.endpoint
            async with self.node() as node:
                answer = await node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=TIMEOUT)
            status = registration.RegistrationStatus(plugin_registered=True)
            await plugin.NotifyRegistrationStatus(status, timeout=5)
        return str(answer.node_id)

    @asynccontextmanager
    async def node(self) -> AsyncIterator[NodeAsyncStub]:
        async with _channel(self.endpoint) as channel:
            yield NodeStub(channel)

    @asynccontextmanager
    async def identity(self) -> AsyncIterator[IdentityAsyncStub]:
        async with _channel(self.endpoint) as channel:
            yield IdentityStub(channel)

    def pod(self, namespace: str = "default") -> Pod:
        return Pod(self, namespace)


@dataclass
class Pod:
    """A pod that was bound to the node."""

    kubelet: Kubelet
    namespace: str
    uid: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def directory(self) -> Path:
        return self.kubelet.root / "pods" / self.uid

    def volume(
        self, attributes: Mapping[str, str], name: str = "model", *, read_only: bool = True
    ) -> Mounter:
        return Mounter(self, name, dict(attributes), read_only)


@dataclass
class Mounter:
    """One inline volume of a pod; csi_mounter.go."""

    pod: Pod
    name: str
    attributes: dict[str, str]
    read_only: bool

    @property
    def id(self) -> str:
        return f"csi-{hashlib.sha256(f'{self.pod.uid}{self.name}'.encode()).hexdigest()}"

    @property
    def target(self) -> Path:
        return self.pod.directory / "volumes" / "kubernetes.io~csi" / self.name / "mount"

    @property
    def request(self) -> csi.NodePublishVolumeRequest:
        mode = csi.VolumeCapability.AccessMode(mode=csi.VolumeCapability.AccessMode.SINGLE_NODE_WRITER)
        return csi.NodePublishVolumeRequest(
            volume_id=self.id,
            target_path=str(self.target),
            readonly=self.read_only,
            volume_capability=csi.VolumeCapability(
                mount=csi.VolumeCapability.MountVolume(), access_mode=mode
            ),
            volume_context={
                **self.attributes,
                "csi.storage.k8s.io/pod.name": "pod",
                "csi.storage.k8s.io/pod.namespace": self.pod.namespace,
                "csi.storage.k8s.io/pod.uid": self.pod.uid,
                "csi.storage.k8s.io/serviceAccount.name": "default",
                "csi.storage.k8s.io/ephemeral": "true",
            },
        )

    def prepare(self) -> None:
        """Make the directory above the target, and note what is mounted there, for the teardown."""
        self.target.parent.mkdir(parents=True, exist_ok=True)
        note = {
            "specVolID": self.name,
            "volumeHandle": self.id,
            "driverName": self.pod.kubelet.driver,
            "nodeName": "node",
            "volumeLifecycleMode": "Ephemeral",
            "attachmentID": "csi-0",
        }
        (self.target.parent / "vol_data.json").write_text(json.dumps(note))

    async def set_up(self, seconds: float = TIMEOUT) -> None:
        """One attempt. Raises what the driver said, after the cleaning that follows from it."""
        self.prepare()
        try:
            async with self.pod.kubelet.node() as node:
                await node.NodePublishVolume(self.request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() not in NOT_FINAL:
                with suppress(OSError):  # kubelet logs it, and forgets the volume
                    self.remove_mount_dir()
            raise

    async def mount(self, seconds: float = TIMEOUT) -> list[grpc.StatusCode]:
        """Attempts with growing pauses, until one goes well; returns what the others said."""
        said, pause = [], FIRST_PAUSE
        while True:
            try:
                await self.set_up(seconds)
            except grpc.aio.AioRpcError as error:
                said.append(error.code())
                await asyncio.sleep(pause * self.pod.kubelet.pace)
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return said

    async def tear_down(self, seconds: float = TIMEOUT) -> None:
        """One attempt. Raises what the driver said, and when it left a mount."""
        async with self.pod.kubelet.node() as node:
            request = csi.NodeUnpublishVolumeRequest(volume_id=self.id, target_path=str(self.target))
            await node.NodeUnpublishVolume(request, timeout=seconds)
        self.remove_mount_dir()
        assert not self.target.parent.exists(), "kubelet could not remove the volume's directory"

    def remove_mount_dir(self) -> None:
        """Unless something is mounted there: the target, the note, and the directory of the volume.

        Like kubelet's own look, this one does not see a bind of the same filesystem: removing fails then.
        """
        if os.path.ismount(self.target):
            return
        with suppress(FileNotFoundError):
            self.target.rmdir()
        (self.target.parent / "vol_data.json").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            self.target.parent.rmdir()


@asynccontextmanager
async def _channel(socket: str) -> AsyncIterator[grpc.aio.Channel]:
    """One for each call, as kubelet does."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=options) as channel:
        yield channel
