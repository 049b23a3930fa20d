"""Nodes that have wrong bytes, in their cache or in their runtime's store: nobody else gets them."""

from __future__ import annotations

import hashlib
import http.client
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.cluster import Cluster
from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.peers.ca import make_ca
from tests.servers.containerd import lacking
from tests.servers.faults import Fault
from tests.system.waiting import eventually

MADE, OTHER = hello(24 * MIB), hello(24 * MIB, seed=2, says="other")
LAYER, OTHER_LAYER = MADE.layers[-1].digest, OTHER.layers[-1].digest
GIVEN_TO_NOBODY = "a blob of the runtime's store is not what its name says; it is given to nobody"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    if why := lacking("1.7"):
        pytest.skip(why)
    with Cluster(tmp_path, make_ca(tmp_path / "ca"), nodes=3, rate=25_000_000) as cluster:
        yield cluster


def rot(file: Path, begin: int = 0) -> None:
    """Flip a bit in each mebibyte from there on, as a bad disk would: nothing else of the file changes."""
    before = file.stat()
    with file.open("r+b") as content:
        for at in range(begin, before.st_size, MIB):
            byte = os.pread(content.fileno(), 1, at)
            os.pwrite(content.fileno(), bytes([byte[0] ^ 1]), at)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def blob_file(node: Node, blob: str = LAYER) -> Path:
    """Where the daemon keeps a blob."""
    return node.daemon.root / "blobs/sha256" / blob[7:9] / blob[7:]


@pytest.mark.slow
def test_nobody_takes_wrong_bytes_from_another_nodes_cache_or_runtime(cluster: Cluster) -> None:
    upstream = cluster.upstream
    name, other = upstream.offer("team/app", MADE), upstream.offer("team/other", OTHER)
    liar, *others = cluster.nodes
    liar.containerd.pull(other)  # without the daemon: nothing of it is in a cache
    peers = liar.daemon.settings.pop("peers")
    liar.daemon.start()
    liar.warm(name)
    liar.daemon.terminate()
    rot(blob_file(liar))
    rot(liar.containerd.blobs / OTHER_LAYER[7:])
    liar.daemon.settings["peers"] = peers
    upstream.front.forget()
    cluster.start()

    cluster.pull(other, others)
    assert liar.daemon.logged(GIVEN_TO_NOBODY)
    cluster.pull(name, others)
    assert sum(node.daemon.metric("cached_peer_bans_total") for node in others) >= 1
    for node in others:
        assert node.containerd.run(name, *SAID) == "hello\n"
        assert node.containerd.run(other, *SAID) == "other\n"
        for blob in (LAYER, OTHER_LAYER):
            assert digest_of(blob_file(node, blob)) == blob
    assert upstream.gets(by="containerd") == 0
    assert upstream.read() <= 1.1 * (MADE.size + OTHER.size)


@pytest.mark.parametrize("node", ["1.7"], indirect=True)
def test_a_runtime_that_has_wrong_bytes_gives_them_to_no_puller(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", MADE)
    node.containerd.pull(name)
    upstream.front.forget()
    start(node)
    assert got(node, upstream) == LAYER
    assert upstream.front.sent() == 0
    node.daemon.terminate()
    rot(node.containerd.blobs / LAYER[7:])
    start(node)
    assert got(node, upstream) == "", "the last chunk waits until the whole is known to be right"
    assert node.daemon.logged(GIVEN_TO_NOBODY)
    eventually(lambda: got(node, upstream) == LAYER, 30)  # once it is whole: it was in trouble just now
    assert blob_file(node).exists()


@pytest.mark.parametrize("node", ["1.7"], indirect=True)
def test_what_rots_in_a_nodes_own_cache_is_found_before_it_is_given(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", MADE)
    node.daemon.start()
    node.warm(name)
    node.daemon.terminate()
    file = blob_file(node)
    rot(file, begin=17 * MIB)
    node.daemon.start()
    upstream.front.forget()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    (seen,) = upstream.front.requests(f"/v2/*/blobs/{LAYER}")
    assert seen.headers["range"] == f"bytes={16 * MIB}-", "what comes before is right"
    eventually(lambda: not file.exists())
    assert [each.name[:64] for each in (node.daemon.root / "quarantine").iterdir()] != []
    # The next one gets it from here again.
    node.containerd.remove(name)
    eventually(lambda: not (node.containerd.blobs / LAYER[7:]).exists())
    node.warm(name)
    upstream.front.forget()
    node.containerd.pull(name)
    assert upstream.read() == 0


def test_parts_of_what_rots_are_given_where_they_are_right(tmp_path: Path, upstream: Upstream) -> None:
    name, data = upstream.offer("team/app", MADE), MADE.layers[-1].data
    spans = [(0, 1), (5, MIB), (MIB - 1, MIB + 1), (MIB // 2, 11 * MIB + 7), (20 * MIB, len(data))]
    with Node(tmp_path / "node", upstream, containerd="") as node:
        node.daemon.start()
        node.warm(name)
        node.daemon.restart()  # what came just now is not read again
        for first, end in spans:
            assert part(node, upstream, first, end) == data[first:end]
        node.daemon.terminate()
        rot(blob_file(node), begin=12 * MIB)
        upstream.front.inject(Fault(path="*/blobs/*", status=503, times=None))
        node.daemon.start()
        for first, end in spans[:-1]:
            assert part(node, upstream, first, end) == data[first:end]
        assert part(node, upstream, 11 * MIB, 13 * MIB) in (b"", data[11 * MIB : 12 * MIB])
        assert part(node, upstream, 20 * MIB, len(data)) == b""


def start(node: Node) -> None:
    """Start the daemon; when this returns it has looked into its runtime's store."""
    node.daemon.start()
    node.daemon.cachectl("ls", "--images")


def got(node: Node, upstream: Upstream) -> str:
    """The digest of the layer as the mirror gives it; "" when it ends early."""
    data = part(node, upstream, 0, MADE.layers[-1].size)
    return f"sha256:{hashlib.sha256(data).hexdigest()}" if len(data) == MADE.layers[-1].size else ""


def part(node: Node, upstream: Upstream, first: int, end: int) -> bytes:
    """Bytes of the layer as the mirror gives them, perhaps fewer than were asked for."""
    connection = http.client.HTTPConnection("127.0.0.1", node.mirror_port, timeout=30)
    try:
        asked = {"Range": f"bytes={first}-{end - 1}"}
        connection.request("GET", f"/v2/team/app/blobs/{LAYER}?ns={upstream.host}", headers=asked)
        answer = connection.getresponse()
        assert answer.status in (206, 404)
        return answer.read() if answer.status == 206 else b""
    except http.client.IncompleteRead as error:
        return error.partial
    finally:
        connection.close()


def digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return f"sha256:{hashlib.file_digest(content, 'sha256').hexdigest()}"
