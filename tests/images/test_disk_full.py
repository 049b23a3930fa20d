"""A disk that somebody else fills while a layer comes: the cache goes without, and the runtime does not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.images.moments import once_flowing
from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.system.disks import Disk
from tests.system.truth import look
from tests.system.waiting import eventually


def node_on(disk: Disk, home: Path, upstream: Upstream) -> Node:
    """Its daemon's data directory is on the disk, and its containerd's is not."""
    if why := lacking("1.7"):
        pytest.skip(why)
    return Node(home / "node", upstream, settings={"root": str(disk.path / "cache"), "capacity": "1GiB"})


def forget(node: Node, name: str, digest: str) -> None:
    """Have containerd lose an image with this layer, lest it count as what the node has."""
    node.containerd.remove(name)
    eventually(lambda: digest[7:] not in os.listdir(node.containerd.blobs))


def assert_well(node: Node) -> None:
    """It serves, and of what is on its disk all is complete and accounted for."""
    operator = node.daemon.operator()
    eventually(lambda: operator.status().flight_count == 0)
    assert operator.serving()
    truth, status = look(node.daemon.root), operator.status()
    assert (truth.reserved, truth.drafts, truth.stray) == (0, frozenset(), ())
    assert (status.space.used_bytes, status.space.reserved_bytes) == (truth.used, 0)
    assert status.blob_count == len(truth.blobs)
    assert "Traceback" not in node.daemon.log


@pytest.mark.parametrize("kind", ["tmpfs", pytest.param("ext4", marks=pytest.mark.slow)])
def test_a_layer_that_has_begun_has_its_room_and_the_next_does_without(
    tmp_path: Path, upstream: Upstream, kind: str
) -> None:
    made, after = hello(40 * MIB), hello(24 * MIB, seed=5, says="after")
    name, other = upstream.offer("team/app", made), upstream.offer("team/after", after)
    layer, next_layer = made.layers[-1], after.layers[-1]
    theirs: list[Path] = []
    with Disk(tmp_path, kind, 96 * MIB) as disk, node_on(disk, tmp_path, upstream) as node:
        node.daemon.start()

        def fill() -> None:
            theirs.append(disk.fill("theirs", leave=0))

        once_flowing(node, upstream, layer.digest, fill, at=layer.size // 2)
        node.containerd.pull(name)
        assert node.containerd.run(name, *SAID) == "hello\n"
        assert upstream.gets(by="containerd") == 0

        node.containerd.pull(other)
        assert node.containerd.run(other, *SAID) == "after\n"
        assert upstream.gets(f"/v2/*/blobs/{next_layer.digest}", by="containerd") == 1
        assert_well(node)
        assert set(theirs[0].read_bytes()) <= set(b"others\0")

        theirs[0].unlink()
        forget(node, other, next_layer.digest)
        assert "warm" in node.warm(other)
        assert_well(node)


def test_room_that_was_promised_and_is_not_there(tmp_path: Path, upstream: Upstream) -> None:
    """A disk that is thin: the filesystem has room for the whole layer, and what is beneath it has not."""
    made = hello(40 * MIB)
    name, layer = upstream.offer("team/app", made), made.layers[-1]
    theirs: list[Path] = []
    with (
        Disk(tmp_path / "beneath", "tmpfs", 128 * MIB) as beneath,
        Disk(beneath.path, "xfs", 320 * MIB) as disk,
        node_on(disk, tmp_path, upstream) as node,
    ):
        node.daemon.start()

        def fill() -> None:
            theirs.append(beneath.fill("theirs", leave=0))

        once_flowing(node, upstream, layer.digest, fill, at=layer.size // 2)
        node.containerd.pull(name)
        assert node.containerd.run(name, *SAID) == "hello\n"
        (seen,) = (
            seen
            for seen in upstream.front.requests(f"/v2/*/blobs/{layer.digest}")
            if seen.headers["user-agent"].startswith("containerd")
        )
        assert 0 < seen.sent < layer.size, "containerd goes on where the mirror left off"
        assert node.daemon.operator().serving()
        assert "No space left on device" in node.daemon.log

        theirs[0].unlink()
        forget(node, name, layer.digest)
        upstream.front.forget()
        # The first time, fsync may still have to tell of what it could not write before.
        eventually(lambda: "failed" not in node.warm(name, code=None), 20)
        assert upstream.front.sent(f"/v2/*/blobs/{layer.digest}") < layer.size, "nothing was resumed"
        assert_well(node)
