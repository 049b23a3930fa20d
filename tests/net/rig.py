"""A small cluster: a source behind one link, and daemons behind one each."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cached.cli.authority import Authority
from tests.net.node import Node
from tests.net.switch import Host, Switch
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import keys_of, reading_from
from tests.system.content import Content, upload
from tests.system.waiting import eventually

_PATIENCE = 300.0


class Rig:
    """While the `with` block runs: `source`, a link as wide as any other before the S3 server `s3`, and
    `nodes` that know each other by a static list. No daemon runs before `start`.

    `source.inject` makes the source fail, `source.forget` begins its counts anew.
    """

    def __init__(self, home: Path, s3: S3Server, ca: Authority, *, nodes: int, rate: int) -> None:
        """rate: of each link, in bytes per second each way."""
        self._home = home
        self._s3 = s3
        self.ca = ca
        self._count = nodes
        self.rate = rate
        self._stack = ExitStack()
        self._models: dict[str, Any] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            switch = stack.enter_context(Switch())
            self.origin = switch.host(self.rate)
            self.source = stack.enter_context(
                self.origin.namespace.call(lambda: FaultyServer(self._s3.endpoint, self.origin.address))
            )
            hosts = [switch.host(self.rate) for _ in range(self._count)]
            self.nodes = [self._node(host) for host in hosts]
            for node in self.nodes:
                stack.push(node.__exit__)
                node.join(self.members, self.ca)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def members(self) -> list[str]:
        return [node.address for node in self.nodes]

    def offer(self, name: str, content: Content) -> None:
        """Put a model into the source, and into the catalogs of all nodes."""
        bucket = self._s3.make_bucket()
        upload(self._s3, bucket, name, content)
        self._models[name] = {"source": f"s3://{bucket}/{name}", "revision": "v1"}
        for node in self.nodes:
            node.write_catalog(self._models)

    def start(self, nodes: Iterable[Node] | None = None) -> None:
        """Start these, or all, and wait until they serve."""
        chosen = self.nodes if nodes is None else list(nodes)
        for node in chosen:
            node.launch()
        for node in chosen:
            node.wait_until_serving()

    @property
    def read(self) -> int:
        """Bytes of models that the source sent since the start, or since it was told to forget."""
        return self.source.sent("/*/?*")  # listings of a bucket aside

    def until_read(self, size: float) -> None:
        """Wait until the source has sent so many bytes of models."""
        eventually(lambda: self.read >= size, _PATIENCE)

    def _node(self, host: Host) -> Node:
        server = self._s3.behind(self.source.endpoint)
        home = self._home / host.address
        return Node(home, host, settings=reading_from(server), environment=keys_of(server))
