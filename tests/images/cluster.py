"""Nodes with real runtimes, each behind a link of its own, and a registry behind another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cached.cli.authority import Authority
from tests.images.site import Node, Upstream
from tests.net.node import Node as HostedDaemon
from tests.net.switch import Switch
from tests.servers.faulty import FaultyServer
from tests.servers.registry import DockerRegistry
from tests.system.waiting import eventually


class Cluster:
    """`upstream`, and `nodes` that know each other, for a `with` block. No daemon runs before `start`."""

    def __init__(
        self,
        home: Path,
        ca: Authority,
        *,
        nodes: int,
        rate: int,
        containerd: str = "1.7",
        images: dict[str, Any] | None = None,
    ) -> None:
        """rate: of each link, in bytes per second each way. containerd: its version, "" for none."""
        self._home = home
        self._ca = ca
        self._count = nodes
        self._rate = rate
        self._containerd = containerd
        self._images = images
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            switch = stack.enter_context(Switch())
            self.origin = switch.host(self._rate)
            registry = stack.enter_context(DockerRegistry(self._home / "registry"))
            front = self.origin.namespace.call(lambda: FaultyServer(registry.endpoint, self.origin.address))
            self.upstream = Upstream(registry, stack.enter_context(front))
            self.hosts = [switch.host(self._rate) for _ in range(self._count)]
            self.nodes = [
                stack.enter_context(
                    Node(
                        self._home / host.address,
                        self.upstream,
                        containerd=self._containerd,
                        images=self._images,
                        host=host,
                    )
                )
                for host in self.hosts
            ]
            addresses = [daemon_of(node).address for node in self.nodes]
            for node in self.nodes:
                daemon_of(node).join(addresses, self._ca)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def start(self) -> None:
        """Start all daemons, and wait until they know each other."""
        for node in self.nodes:
            node.daemon.launch()
        for node in self.nodes:
            node.daemon.wait_until_serving()
        daemons = [daemon_of(node) for node in self.nodes]
        eventually(lambda: all(daemon.usable_peers == self._count - 1 for daemon in daemons), 30)

    def pull(self, name: str, nodes: Sequence[Node] = ()) -> None:
        """The runtimes of these nodes, or of all, pull at once; raises what the first that failed said."""
        errors: list[BaseException] = []

        def pull(node: Node) -> None:
            try:
                node.containerd.pull(name, timeout=300)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=pull, args=(node,)) for node in nodes or self.nodes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]


def daemon_of(node: Node) -> HostedDaemon:
    assert isinstance(node.daemon, HostedDaemon)
    return node.daemon
