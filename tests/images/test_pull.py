"""containerd pulls through the mirror, and without it when it must."""

from __future__ import annotations

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.faults import Fault
from tests.servers.images import image, index
from tests.servers.layers import layer
from tests.system.waiting import eventually


def test_a_warmed_image_starts_without_its_registry(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(3 * MIB))
    node.daemon.start()
    node.warm(name)
    read = upstream.read()
    upstream.front.inject(Fault(path="/v2/*", method="", status=500, times=None))
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert upstream.read() == read


def test_an_ordinary_pull_reads_the_registry_once_and_only_by_the_daemon(
    node: Node, upstream: Upstream
) -> None:
    made = hello(9 * MIB, 40 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.start()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert upstream.read() == made.size
    assert upstream.gets(by="containerd") == 0
    node.containerd.remove(name)
    node.containerd.pull(name)
    assert upstream.read() == made.size


def test_layers_flow_before_they_are_complete(node: Node, upstream: Upstream) -> None:
    made = hello(64 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.start()
    # The last bytes of the layer do not come until containerd has the first.
    digest = made.layers[-1].digest

    def flowed() -> None:
        eventually(
            lambda: any(ref.endswith(digest) and size for ref, size in node.containerd.ingests().items()), 20
        )

    upstream.front.inject(
        Fault(path=f"/v2/*/blobs/{digest}", covering=made.layers[-1].size - 1, before=flowed)
    )
    node.containerd.pull(name)
    assert upstream.gets(by="containerd") == 0


def test_an_index_gives_the_nodes_own_platform(node: Node, upstream: Upstream) -> None:
    platforms = ["linux/arm64/v8", "linux/s390x", "linux/ppc64le", "windows/amd64", "linux/arm/v7"]
    others = [image([layer({"who": each.encode() * 1000})], platform=each) for each in platforms]
    name = upstream.offer("team/many", index([*others, hello(2 * MIB)]))
    node.daemon.start()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert all(upstream.gets(f"/v2/*/*/{each.layers[0].digest}") == 0 for each in others)
