"""An image of 120 layers, of every kind and size that layers have: each of them comes once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import grpc
import pytest

from cached.core.chunks import chunk_count, chunk_size_for
from tests.images.cluster import Cluster, daemon_of
from tests.images.pictures import MIB, SAID
from tests.images.site import Node, Upstream
from tests.peers.ca import make_ca
from tests.servers.containerd import lacking
from tests.servers.images import Image, image
from tests.servers.layers import Blob, Noise, busybox_layer, layer
from tests.system.waiting import eventually

SIZES: Final = (0, 32, 700, 5000, 40_000, 200_000, 600_000, MIB, 2 * MIB)
"""Bytes of the one file of a layer; with 0 there is none."""
KINDS: Final = (("gzip", False), ("zstd", False), ("", False), ("gzip", True), ("", True))
"""Compression, and whether the layer goes by Docker's media type; that one knows no zstd."""

ONE = pytest.mark.parametrize("node", ["1.7"], indirect=True)


def many_layers(count: int, *, docker: bool = False) -> Image:
    """An image that can run, with all media types of layers, or with Docker's alone."""
    kinds = [kind for kind in KINDS if kind[1] or not docker]
    layers = [busybox_layer(docker=docker), layer({"etc/motd": b"hello\n"}, docker=docker)]
    for number in range(count - len(layers)):
        size, (compression, of_docker) = SIZES[number % len(SIZES)], kinds[number % len(kinds)]
        files = {f"data/{number % 90}": Noise(size, number % 90)} if size else {}
        layers.append(layer(files, compression=compression, docker=of_docker))
    return image(layers, docker=docker)


def assert_read_once(upstream: Upstream, made: Image) -> None:
    """Each blob came in as many GETs as it has chunks, and no byte of it twice."""
    for blob in {each.digest: each for each in made.blobs}.values():
        gets = upstream.front.requests(f"/v2/*/blobs/{blob.digest}")
        assert sum(seen.sent for seen in gets) == blob.size, blob
        assert len(gets) == chunk_count(blob.size, chunk_size_for(blob.size)), blob
    assert upstream.read() == made.size


@pytest.mark.slow
def test_each_comes_once_and_a_neighbour_gets_all_from_the_first(tmp_path: Path) -> None:
    if why := lacking("1.7"):
        pytest.skip(why)
    made = many_layers(120)
    assert len({each.digest for each in made.layers}) < len(made.layers) == 120
    with Cluster(tmp_path, make_ca(tmp_path / "ca"), nodes=2, rate=60_000_000) as cluster:
        name = cluster.upstream.offer("team/many", made)
        cluster.start()
        first, second = cluster.nodes
        first.containerd.pull(name)
        assert first.containerd.run(name, *SAID) == "hello\n"
        assert_read_once(cluster.upstream, made)
        cluster.upstream.front.forget()
        blobs = len({each.digest for each in made.blobs}) + 1
        eventually(lambda: first.daemon.metric('cached_swarms{role="serving"}') >= blobs, 20)
        second.warm(name)
        assert cluster.upstream.read() == 0
        assert daemon_of(second).received("peer") == made.size


@ONE
def test_docker_media_types(node: Node, upstream: Upstream) -> None:
    made = many_layers(2 * len(SIZES), docker=True)
    name = upstream.offer("team/docker", made)
    node.daemon.start()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert_read_once(upstream, made)
    assert upstream.gets(by="containerd") == 0
    assert len(upstream.front.requests(method="HEAD")) <= 2, "layers are not asked for before they are read"


@ONE
def test_a_layer_of_no_bytes_is_kept_though_containerd_takes_none(node: Node, upstream: Upstream) -> None:
    nothing = Blob.of(b"", "application/vnd.oci.image.layer.v1.tar")
    name = upstream.offer("team/hollow", image([busybox_layer(), replace(nothing, diff_id=nothing.digest)]))
    with pytest.raises(grpc.RpcError) as alone:
        node.containerd.pull(name)
    node.daemon.start()
    assert "warm" in node.warm(name)
    with pytest.raises(grpc.RpcError) as mirrored:
        node.containerd.pull(name)
    assert mirrored.value.details() == alone.value.details()
