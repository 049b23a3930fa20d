"""Moments of a pull at which tests make something happen."""

from __future__ import annotations

from collections.abc import Callable

from tests.images.site import Node, Upstream
from tests.servers.faults import Fault
from tests.system.waiting import eventually


def once_flowing(
    node: Node, upstream: Upstream, digest: str, then: Callable[[], object], at: int = 0
) -> None:
    """Call `then` once containerd has the first bytes of a layer, whose byte `at` waits for that."""

    def strike() -> None:
        eventually(
            lambda: any(ref.endswith(digest) and n for ref, n in node.containerd.ingests().items()), 20
        )
        then()

    upstream.front.inject(Fault(path=f"/v2/*/blobs/{digest}", covering=at, before=strike))
