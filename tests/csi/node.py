"""A driver with its engine, on real sockets in the test's own loop, and the kubelet that uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from cached.engine.engine import EngineOptions
from cached.engine.publish.publisher import Publisher
from cached.engine.publish.volume import VolumeOptions
from cached.engine.publish.volumes import Volumes
from cached.serve.csi import CsiServer, Plugin
from cached.store.store import Lease
from cached.telemetry.metrics import Metrics
from tests.csi.kubelet import Kubelet, Mounter
from tests.engine.house import House, open_house
from tests.publish.playground import Playground, Receiver

DRIVER = "csi.cached.dev"


@dataclass
class Driver:
    """What answers kubelet: its sockets are there as long as the `driving` block lasts."""

    volumes: Volumes
    server: CsiServer
    metrics: Metrics
    well: bool = True

    def sample(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@dataclass
class Node:
    """All of it together."""

    kubelet: Kubelet
    driver: Driver
    house: House
    receiver: Receiver

    @property
    def leases(self) -> list[Lease]:
        return self.house.store.leases()

    def volume(self, namespace: str = "default", /, **attributes: str) -> Mounter:
        """An inline volume of a new pod."""
        return self.kubelet.pod(namespace).volume(attributes)


@asynccontextmanager
async def driving(
    playground: Playground, kubelet: Kubelet, socket_namespaces: tuple[str, ...] = ()
) -> AsyncIterator[Driver]:
    """A driver whose engine does not run yet."""
    metrics = Metrics()
    publisher = Publisher(metrics, noexec=False)
    sockets = playground.path / "run" / "pods"
    sockets.mkdir(parents=True, exist_ok=True)
    volumes = Volumes(publisher, VolumeOptions(DRIVER, kubelet.root, sockets, socket_namespaces), metrics)
    endpoint = kubelet.root / "plugins" / DRIVER / "csi.sock"
    registration = kubelet.root / "plugins_registry" / f"{DRIVER}-reg.sock"
    plugin = Plugin(DRIVER, "node-1", endpoint)
    driver: Driver
    server = CsiServer(plugin, volumes, lambda: driver.well, registration, metrics)
    driver = Driver(volumes, server, metrics)
    await server.start()
    try:
        await kubelet.register()
        yield driver
    finally:
        await server.stop(0)
        publisher.close()


@asynccontextmanager
async def serving(driver: Driver, house: House) -> AsyncIterator[None]:
    """The driver's engine runs."""
    task = asyncio.create_task(driver.volumes.run(house.engine, house.store))
    while not driver.volumes.ready:
        await asyncio.sleep(0.005)
        assert not task.done(), task
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def open_node(
    playground: Playground,
    models: Mapping[str, str],
    *,
    capacity: int = 1 << 30,
    options: EngineOptions = EngineOptions(),  # noqa: B008 - frozen
    socket_namespaces: tuple[str, ...] = (),
) -> AsyncIterator[Node]:
    """Driver and engine, and a namespace like a pod's that sees what is mounted."""
    receiver = playground.receiver("slave")
    kubelet = Kubelet(playground.path / "kubelet")
    async with (
        open_house(playground.path / "house", models, capacity=capacity, options=options) as house,
        driving(playground, kubelet, socket_namespaces) as driver,
        serving(driver, house),
    ):
        yield Node(kubelet, driver, house, receiver)


async def refused(volume: Mounter, seconds: float = 5.0) -> grpc.aio.AioRpcError:
    """What the driver said to one attempt that must not go well."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await volume.set_up(seconds)
    return caught.value


def shown(playground: Playground) -> list[Path]:
    """Where volumes are mounted."""
    return [Path(mount.point) for mount in playground.mounts() if "pods" in Path(mount.point).parts]
