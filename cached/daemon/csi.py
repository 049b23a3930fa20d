"""The CSI node plugin, put together."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from cached.config.publishing import Csi
from cached.engine.engine import Engine
from cached.engine.publish.publisher import Publisher
from cached.engine.publish.volume import VolumeOptions
from cached.engine.publish.volumes import Volumes
from cached.kit.mountinfo import covering
from cached.kit.mounts import may_mount
from cached.serve.csi import CsiServer, Plugin
from cached.store.store import Store
from cached.telemetry.metrics import Metrics


class NodePlugin:
    """Serves kubelet from the first moment on, so that pods may end; publishes once the engine runs."""

    def __init__(self, csi: Csi, sockets: Path, publisher: Publisher, metrics: Metrics) -> None:
        """sockets: the directory of the pods' socket."""
        driver = str(csi.driver)
        options = VolumeOptions(driver, csi.kubelet_root, sockets, csi.socket_namespaces)
        self._publisher = publisher
        self._pods = csi.kubelet_root / "pods"
        self._volumes = Volumes(publisher, options, metrics)
        self._engine: Engine | None = None
        self._private = False
        self._server = CsiServer(
            Plugin(driver, csi.node or socket.gethostname(), csi.socket_path),
            self._volumes,
            lambda: self._engine is None or self._engine.healthy,
            csi.registration_path,
            metrics,
        )

    async def start(self) -> None:
        """Listen. Raises NotConfigured or Busy, naming the path, or DiskFault."""
        beneath = covering(await self._publisher.mounts(), str(self._pods.resolve()))
        self._private = beneath is not None and not beneath.shared
        await self._server.start()

    async def run(self, engine: Engine, store: Store) -> None:
        """Forever: publish what kubelet asks for, and care for what is published."""
        self._engine = engine
        await self._volumes.run(engine, store)

    async def stop(self, grace: float) -> None:
        """Serve kubelet no more; calls under way get `grace` seconds. What is published stays."""
        await self._server.stop(grace)

    def notices(self) -> Iterator[str]:
        """What an operator should know, in sentences."""
        if not may_mount():
            yield "csi.driver is set, but without CAP_SYS_ADMIN no volume can be published"
        if self._private:
            yield (
                f"{self._pods} is on no shared mount: if this daemon runs in a container, pods find their"
                " volumes empty (mountPropagation: Bidirectional; else mount --make-rshared)"
            )
        if self._server.refusal:
            yield f"kubelet refuses the CSI plugin: {self._server.refusal}"
