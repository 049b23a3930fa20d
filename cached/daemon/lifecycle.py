"""The daemon's life: start, serve, drain, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cached import __version__
from cached.config.settings import Settings
from cached.core.errors import CachedError, NotConfigured
from cached.daemon.wiring import House, open_house
from cached.engine.publish.publisher import Publisher
from cached.kit.guard import forever
from cached.kit.pulse import Pulse
from cached.kit.sdnotify import notify, watchdog_interval
from cached.serve.api.server import ApiServer
from cached.serve.ops.server import OpsServer
from cached.serve.rpc.sockets import Listen
from cached.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from cached.daemon.csi import NodePlugin
    from cached.engine.gate.keeper import GateKeeper
    from cached.serve.mirror.server import MirrorServer

log = logging.getLogger(__name__)

_CLOSE_GRACE = 1.0


class _Stop(Exception):
    """Ends the root task group once the daemon has drained."""


class StopSignals:
    """SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once.

    Ending at once is safe: nothing is published by halves, and verified chunks are journalled.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)

    def _on_signal(self, number: int) -> None:
        if self.asked.is_set():
            log.warning("second signal: stopping at once")
            os._exit(128 + number)
        self.asked.set()


async def serve(settings: Settings) -> None:
    """Run the daemon until a signal ends it.

    Raises Busy when another daemon has the data directory, NotConfigured or DiskFault when it cannot start.
    """
    signals = StopSignals()
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        metrics.build.labels(version=__version__).set(1)
        publisher = Publisher(metrics, noexec=settings.publish.noexec)
        stack.callback(publisher.close)
        plugin = _plugin(settings, publisher, metrics)
        if plugin is not None:  # before the store is open: pods that end must not wait for it
            stack.push_async_callback(plugin.stop, 0)
            await plugin.start()
        gate = _gate(settings, metrics)
        house = await stack.enter_async_context(open_house(settings, metrics, publisher, plugin, gate))
        api = _api(settings, house)
        await house.catalog.start()
        await api.start()
        stack.push_async_callback(api.stop, _CLOSE_GRACE)
        if house.neighbours is not None:
            stack.push_async_callback(house.neighbours.stop, 0)
            await house.neighbours.start()
        mirror = house.mirror()
        if mirror is not None:
            stack.push_async_callback(mirror.stop, 0)
            await mirror.start()
        serving = asyncio.Event()
        pulse = Pulse(time.monotonic)
        if settings.metrics:
            ops = OpsServer(settings.metrics, house.metrics, lambda: pulse.alive, serving.is_set)
            port = ops.start()
            stack.callback(ops.stop)
            log.info("metrics are served", extra={"port": port})
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(forever("engine", house.engine.run))
                if house.neighbours is not None:
                    group.create_task(forever("neighbours", house.neighbours.run))
                if plugin is not None:
                    run = plugin.run
                    group.create_task(forever("volumes", lambda: run(house.engine, house.store)))
                group.create_task(forever("pulse", pulse.beat))
                group.create_task(forever("systemd watchdog", _tell_watchdog))
                group.create_task(
                    _drain_when_asked(signals, house, api, mirror, plugin, serving, settings.drain_timeout)
                )
                await api.set_serving(True)
                serving.set()
                if gate is not None:
                    keep, engine = gate.run, house.engine
                    group.create_task(
                        forever("gate", lambda: keep(engine.readiness, engine.warm_models, serving.is_set))
                    )
                group.create_task(forever("health", lambda: _show_health(signals, house, api, serving)))
                notify(f"READY=1\nSTATUS=serving from {settings.root}")
                log.info(
                    "serving",
                    extra={
                        "version": __version__,
                        "root": str(settings.root),
                        "sockets": str(settings.socket_directory),
                    },
                )
        except* _Stop:
            log.info("stopped")
        except* CachedError as group_of_errors:
            raise group_of_errors.exceptions[0] from None


async def _drain_when_asked(
    signals: StopSignals,
    house: House,
    api: ApiServer,
    mirror: MirrorServer | None,
    plugin: NodePlugin | None,
    serving: asyncio.Event,
    grace: float,
) -> None:
    await signals.asked.wait()
    log.info("draining; a second signal stops at once", extra={"seconds": grace})
    notify(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((grace + 30) * 1e6)}")
    await api.set_serving(False)
    serving.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(house.engine.drain(grace))
        if mirror is not None:  # runtimes that come now go on to the registry
            group.create_task(mirror.stop(grace))
    if house.neighbours is not None:
        await house.neighbours.stop(_CLOSE_GRACE)
    if plugin is not None:
        await plugin.stop(_CLOSE_GRACE)
    await api.stop(_CLOSE_GRACE)
    raise _Stop


async def _show_health(signals: StopSignals, house: House, api: ApiServer, serving: asyncio.Event) -> None:
    """Serve while there is a disk to serve from, until a drain begins."""
    while not signals.asked.is_set():
        if house.engine.healthy is not serving.is_set():
            await api.set_serving(house.engine.healthy)
            (serving.set if house.engine.healthy else serving.clear)()
        await asyncio.sleep(1)
    await asyncio.Event().wait()


async def _tell_watchdog() -> None:
    """Tell systemd that the event loop still turns; for ever, at half of the interval that it allows."""
    interval = watchdog_interval()
    while True:
        if interval:
            notify("WATCHDOG=1")
        await asyncio.sleep(interval or 3600)


def _plugin(settings: Settings, publisher: Publisher, metrics: Metrics) -> NodePlugin | None:
    if settings.csi.driver is None:
        return None
    from cached.daemon.csi import NodePlugin

    return NodePlugin(settings.csi, settings.socket_directory / "pods", publisher, metrics)


def _gate(settings: Settings, metrics: Metrics) -> GateKeeper | None:
    """Raises NotConfigured when what it takes is not installed."""
    if settings.gate.node is None:
        return None
    try:
        from cached.daemon.gate import gate_of
    except ModuleNotFoundError as missing:
        raise NotConfigured(
            f"gate.node needs the package lightkube: {missing}", hint="pip install cached[kubernetes]"
        ) from None
    return gate_of(settings.gate, settings.gate.node, settings.root, metrics)


def _api(settings: Settings, house: House) -> ApiServer:
    directory, sockets = settings.socket_directory, settings.sockets
    return ApiServer(
        house.engine,
        house.metrics,
        pods=Listen(directory / "pods" / "cached.sock", sockets.pods_mode, directory_mode=0o755),
        operators=Listen(directory / "operator" / "cached.sock", sockets.operator_mode, directory_mode=0o700),
    )
