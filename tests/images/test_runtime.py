"""Runtimes that end amid a pull, that are not there yet, or that keep no layers: images become complete."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.system.waiting import eventually

MADE = hello(16 * MIB)
LAYER = MADE.layers[-1]
AGAIN = "the container runtime does not answer; trying again"
ONE = pytest.mark.parametrize("node", ["1.7"], indirect=True)


@contextmanager
def warming(node: Node, *arguments: str) -> Iterator[list[str]]:
    """`cachectl warm --image …` runs meanwhile; what it prints is there after the block."""
    said: list[str] = []
    errors: list[BaseException] = []

    def warm() -> None:
        try:
            done = node.daemon.cachectl("warm", "--image", *arguments, seconds=90)
            said.append(done.stdout + done.stderr)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=warm)
    thread.start()
    try:
        yield said
    finally:
        thread.join()
    if errors:
        raise errors[0]


@ONE
def test_a_runtime_that_is_killed_amid_a_pull_pulls_when_it_is_back(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", MADE)
    killed = threading.Event()

    def kill() -> None:
        node.containerd.kill9()
        killed.set()

    with FaultyServer(node.mirror) as door:
        node.containerd.hosts_toml(upstream.host, node.hosts_toml.replace(node.mirror, door.endpoint))
        door.inject(Fault(path=f"/v2/*/blobs/{LAYER.digest}", before=kill))
        node.daemon.start()
        with warming(node, name, "--pull") as said:
            assert killed.wait(60)
            eventually(lambda: node.daemon.logged(AGAIN) != [], 60)
            node.containerd.start()
    assert "unpacking" in said[0]
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert upstream.read() == MADE.size
    assert upstream.gets(by="containerd") == 0


@ONE
def test_a_runtime_that_comes_later_than_the_daemon(node: Node, upstream: Upstream) -> None:
    name, other = upstream.offer("team/app", MADE), upstream.offer("team/other", hello(MIB, seed=5))
    node.containerd.stop()
    shutil.rmtree(node.containerd.content_root)
    node.daemon.settings["catalog"] = str(node.daemon.catalog)
    node.write_catalog({other: {"pull": True, "pin": True}})
    node.daemon.start()
    with warming(node, name, "--pull") as said:
        eventually(lambda: len(node.daemon.logged(AGAIN)) >= 2, 60)
        assert node.daemon.operator().serving()
        node.containerd.start()
    assert "unpacking" in said[0]
    assert node.containerd.run(name, *SAID) == "hello\n"
    eventually(lambda: other in node.containerd.images(), 60)
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    eventually(lambda: other in node.containerd.ctr("images", "ls", "-q", pinned), 20)
    assert upstream.gets(by="containerd") == 0


@pytest.mark.parametrize("version", ["1.7"])
def test_a_runtime_that_keeps_no_layers_is_not_given_them_again(
    tmp_path: Path, upstream: Upstream, version: str
) -> None:
    if why := lacking(version):
        pytest.skip(why)
    name = upstream.offer("team/app", MADE)
    with Node(tmp_path / "node", upstream, containerd=version, discard_unpacked_layers=True) as node:
        node.daemon.start()
        node.warm(name, "--pull")
        assert upstream.read() == MADE.size
        eventually(lambda: not (node.containerd.blobs / LAYER.digest[7:]).exists(), 30)
        node.daemon.cachectl("evict", f"oci://{name}")
        upstream.front.forget()
        node.warm(name, "--pull")
        assert upstream.read() == 0
        assert node.containerd.run(name, *SAID) == "hello\n"
