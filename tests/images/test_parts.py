"""containerd that reads a layer in parts, several at once, each of which it asks for to the layer's end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faulty import FaultyServer


@pytest.mark.parametrize("by", ["the transfer service", pytest.param("CRI", marks=pytest.mark.slow)])
def test_parts_that_are_left_before_their_end_cost_the_registry_nothing(
    tmp_path: Path, upstream: Upstream, by: str
) -> None:
    if why := lacking("2"):
        pytest.skip(why)
    made = hello(40 * MIB)
    name, layer = upstream.offer("team/app", made), made.layers[-1]
    node = Node(
        tmp_path / "node", upstream, containerd="2", discard_unpacked_layers=by == "CRI", fetch_buffer=2 * MIB
    )
    with node, FaultyServer(node.mirror) as door:
        node.containerd.hosts_toml(upstream.host, node.hosts_toml.replace(node.mirror, door.endpoint))
        node.daemon.start()
        for _ in range(2):
            door.forget()
            node.containerd.pull(name)
            assert node.containerd.run(name, *SAID) == "hello\n"
            parts = [seen.headers["range"] for seen in door.requests(f"/v2/*/blobs/{layer.digest}")]
            assert sorted(parts) == sorted(f"bytes={start}-" for start in range(0, layer.size, 2 * MIB))
            assert upstream.read() == made.size
            assert upstream.gets(by="containerd") == 0
            node.containerd.remove(name)
        assert door.sent(f"/v2/*/blobs/{layer.digest}") > layer.size, "it took each part to its very end"
