"""One model asked of several daemons at the same moment."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from cached.client import CacheClient
from tests.net.node import Node
from tests.system.content import Content, assert_same

_PATIENCE = 90.0


class Fetches:
    """`with Fetches(nodes, "m") as fetches:` asks all of them at once; the block runs meanwhile.

    The models are held until the block ends, and it ends when all fetches have, in whatever way; an error in
    it ends them.
    """

    def __init__(self, nodes: Iterable[Node], ref: str, seconds: float = _PATIENCE) -> None:
        self._nodes = list(nodes)
        self._ref = ref
        self._seconds = seconds
        self._stack = ExitStack()
        self._results: dict[Node, Future[float]] = {}
        self._clients: list[CacheClient] = []

    def __enter__(self) -> Self:
        pool = self._stack.enter_context(ThreadPoolExecutor(len(self._nodes), "fetch"))
        self._clients = [node.client() for node in self._nodes]
        self._began = time.monotonic()
        self._results = {
            node: pool.submit(self._fetch, client)
            for node, client in zip(self._nodes, self._clients, strict=True)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._close()
        self._stack.close()
        self._close()

    def seconds(self, nodes: Iterable[Node] | None = None) -> list[float]:
        """Wait for these, or for all: how long each took. Raises the error of one that failed."""
        chosen = self._nodes if nodes is None else list(nodes)
        return [self._results[node].result(self._seconds) for node in chosen]

    def error(self, node: Node) -> BaseException | None:
        """Wait for this one: how it failed, None when it did not."""
        return self._results[node].exception(self._seconds)

    def going(self, node: Node) -> bool:
        return not self._results[node].done()

    def _fetch(self, client: CacheClient) -> float:
        client.acquire(self._ref)  # without a timeout: with one, it would wait for a daemon that died
        return time.monotonic() - self._began

    def _close(self) -> None:
        for client in self._clients:
            client.close()


def assert_whole(nodes: Iterable[Node], ref: str, content: Content) -> None:
    """Each of the daemons has the model warm, with these bytes."""
    for node in nodes:
        with node.client() as client:
            assert_same(client.acquire(ref, timeout=10).path, content)
