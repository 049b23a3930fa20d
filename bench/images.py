"""How long containerd takes to pull an image: from its registry, and by way of cached.

Real containerds and daemons in network namespaces, with quick links between them, and Docker's own registry.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.images.pictures import hello
from tests.images.site import Node, Origin
from tests.net.node import Node as HostedDaemon
from tests.net.switch import Switch
from tests.peers.ca import make_ca
from tests.servers.images import Image, push
from tests.servers.registry import DockerRegistry
from tests.system.daemon import remove_tree
from tests.system.waiting import eventually

DIRECT, COLD, WARM, NEIGHBOUR = "containerd alone", "cached, cold", "cached, warm", "cached, from a neighbour"
TOGETHER, TOGETHER_DIRECT = "cached, three cold nodes at once", "containerd alone, three at once"
WAYS = (DIRECT, COLD, WARM, NEIGHBOUR, TOGETHER, TOGETHER_DIRECT)
_NODES = 3
_LINK = 2_500_000_000
_WRITTEN = re.compile(r"http\.response\.written=(\d+)")
_PATIENCE = 600.0
_SETTLE = 3.0
"""Seconds after which daemons that were started together take each other for granted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """size: bytes of the image's one large layer. rounds: of all ways, in turn."""

    size: int
    rounds: int


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull, or three at once.

    seconds: until the image was unpacked, by the last one. registry: bytes that the registry sent. cached,
    runtime, source: CPU seconds of all daemons, all containerds, the registry.
    """

    way: str
    size: int
    seconds: float
    registry: int
    cached: float
    runtime: float
    source: float


def run(work: Path, terms: Terms) -> Iterator[Pull]:
    """Measure all ways, round by round. Needs root, containerd and docker-registry."""
    made = hello(terms.size)
    with ExitStack() as stack:
        switch = stack.enter_context(Switch())
        origin = switch.host(_LINK)
        registry = DockerRegistry(work / "registry", address=origin.address, command=origin.namespace.command)
        stack.enter_context(registry)
        upstream = Origin(registry.endpoint)
        origin.namespace.call(lambda: push(registry.endpoint, "bench/image", "v1", made))
        hosts = [switch.host(_LINK) for _ in range(_NODES)]
        nodes = [stack.enter_context(Node(work / host.address, upstream, host=host)) for host in hosts]
        daemons = [_daemon(node) for node in nodes]
        ca = make_ca(work / "ca")
        for daemon in daemons:
            daemon.settings |= {"capacity": "64GiB"}
            daemon.join([each.address for each in daemons], ca)
            del daemon.settings["peers"]["slow"]  # these links are quicker than this machine
        site = _Site(registry, nodes, made, f"{upstream.host}/bench/image:v1")
        for number in range(terms.rounds):
            for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
                pull = site.measure(way)
                print(f"{way}: {pull.seconds:.2f} s, {pull.registry / pull.size:.3f} x", file=sys.stderr)
                yield pull


class _Site:
    def __init__(self, registry: DockerRegistry, nodes: list[Node], made: Image, name: str) -> None:
        self._registry = registry
        self._nodes = nodes
        self._made = made
        self._name = name

    def measure(self, way: str) -> Pull:
        """One pull of that way, from a state that fits it; nothing is left of it."""
        first, second, _ = self._nodes
        pulling = self._nodes if way in (TOGETHER, TOGETHER_DIRECT) else [first]
        running = [] if way in (DIRECT, TOGETHER_DIRECT) else self._nodes
        try:
            for node in running:
                node.daemon.launch()
            for node in running:
                node.daemon.wait_until_serving()
            eventually(lambda: all(_daemon(node).usable_peers == _NODES - 1 for node in running), 60)
            if running:
                time.sleep(_SETTLE)
            if way == WARM:
                first.warm(self._name, seconds=_PATIENCE)
            if way == NEIGHBOUR:
                second.warm(self._name, seconds=_PATIENCE)
            return self._pull(way, pulling, running)
        finally:
            for node in pulling:
                node.containerd.remove(self._name)
            for node in running:
                node.daemon.kill9()
                remove_tree(node.daemon.root)

    def _pull(self, way: str, pulling: list[Node], running: list[Node]) -> Pull:
        daemons, runtimes = [node.daemon.pid for node in running], [node.containerd.pid for node in pulling]
        _forget_pages()
        read, before = self._read, [_cpu(pids) for pids in (daemons, runtimes, [self._registry.pid])]
        began = time.monotonic()
        _all_at_once(pulling, self._name)
        seconds = time.monotonic() - began
        after = [_cpu(pids) for pids in (daemons, runtimes, [self._registry.pid])]
        cached, runtime, source = (new - old for new, old in zip(after, before, strict=True))
        return Pull(way, self._made.size, seconds, self._read - read, cached, runtime, source)

    @property
    def _read(self) -> int:
        """Bytes that the registry sent so far, as it says."""
        return sum(map(int, _WRITTEN.findall(self._registry.log)))


def _forget_pages() -> None:
    """Neither the registry nor a cache has anything in memory: nodes do not pull what they just wrote."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def _all_at_once(nodes: list[Node], name: str) -> None:
    errors: list[BaseException] = []

    def pull(node: Node) -> None:
        try:
            node.containerd.pull(name, timeout=_PATIENCE)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=pull, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _daemon(node: Node) -> HostedDaemon:
    assert isinstance(node.daemon, HostedDaemon)
    return node.daemon


def _cpu(pids: list[int]) -> float:
    """CPU seconds of these processes and of those that they started."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            total += times.user + times.system
    return total


def missing() -> str:
    """What this machine lacks for it; "" when nothing."""
    from tests.servers.containerd import lacking

    return lacking("1.7") or ("" if shutil.which("docker-registry") else "no docker-registry")
