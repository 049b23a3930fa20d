"""Whatever happens to the daemon, the disk or the registry: a pull ends well, or says what is wrong."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import grpc
import pytest

from tests.images.moments import once_flowing
from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.system.waiting import eventually

BOTH = pytest.mark.parametrize("node", [pytest.param("1.6", marks=pytest.mark.slow), "1.7"], indirect=True)
ONE = pytest.mark.parametrize("node", ["1.7"], indirect=True)


@BOTH
def test_without_the_daemon_a_pull_goes_straight_to_the_registry(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(2 * MIB))
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert upstream.gets(by="containerd") > 0


@BOTH
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_daemon_that_ends_or_hangs_in_the_middle_of_a_layer_is_done_without(
    node: Node, upstream: Upstream, how: signal.Signals
) -> None:
    made = hello(48 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.settings["drain_timeout"] = 1
    node.daemon.start()
    layer = made.layers[-1]
    once_flowing(node, upstream, layer.digest, lambda: node.daemon.signal(how), at=layer.size // 2)
    began = time.monotonic()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert upstream.gets(f"/v2/*/blobs/{layer.digest}", by="containerd") >= 1
    assert time.monotonic() - began < 40  # containerd itself would wait for minutes


@ONE
def test_a_daemon_that_is_told_to_stop_lets_a_pull_end(node: Node, upstream: Upstream) -> None:
    made = hello(48 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.start()
    layer = made.layers[-1]
    once_flowing(node, upstream, layer.digest, node.daemon.signal, at=layer.size // 2)
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert node.daemon.wait() == 0


@BOTH
def test_a_daemon_that_hangs_keeps_nobody_waiting(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(2 * MIB))
    node.daemon.start()
    node.daemon.signal(signal.SIGSTOP)
    began = time.monotonic()
    node.containerd.pull(name)
    assert time.monotonic() - began < 30
    assert node.containerd.run(name, *SAID) == "hello\n"
    node.daemon.signal(signal.SIGCONT)
    other = upstream.offer("team/other", hello(3 * MIB, seed=7))
    read = upstream.gets(by="containerd")
    eventually(lambda: node.warm(other, code=None) != "", 20)
    node.containerd.pull(other)
    assert upstream.gets(by="containerd") == read


@ONE
def test_a_registry_that_dies_in_the_middle_of_a_layer_ends_the_pull_and_what_came_is_kept(
    node: Node, upstream: Upstream
) -> None:
    made = hello(48 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.settings["transfer"] = node.daemon.settings["transfer"] | {"connections": 2}
    node.daemon.start()
    layer = made.layers[-1]
    once_flowing(node, upstream, layer.digest, upstream.registry.kill, at=layer.size // 2)
    with pytest.raises(grpc.RpcError):
        node.containerd.pull(name)
    upstream.registry.start()
    upstream.front.heal()
    before = upstream.read(by="cached")
    eventually(lambda: _pulls(node, name), 90)
    assert node.containerd.run(name, *SAID) == "hello\n"
    # containerd may have had the rest from the registry, while the mirror did not trust itself.
    node.containerd.remove(name)
    eventually(lambda: layer.digest[7:] not in os.listdir(node.containerd.blobs))
    node.warm(name)
    assert upstream.read(by="cached") - before < layer.size


def _pulls(node: Node, name: str) -> bool:
    try:
        node.containerd.pull(name)
    except grpc.RpcError:
        return False
    return True


@ONE
def test_a_registry_with_wrong_bytes_gives_nobody_an_image(node: Node, upstream: Upstream) -> None:
    made = hello(20 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.start()
    file = upstream.registry.blob_file(made.layers[-1].digest)
    good = file.read_bytes()
    file.write_bytes(good[: 5 * MIB] + bytes([good[5 * MIB] ^ 1]) + good[5 * MIB + 1 :])
    result = node.warm(name, code=None)
    assert "failed" in result
    with pytest.raises(grpc.RpcError):
        node.containerd.pull(name)
    assert node.containerd.images() == set()
    file.write_bytes(good)
    node.warm(name)
    node.containerd.remove(name)
    eventually(lambda: _pulls(node, name), 90)
    assert node.containerd.run(name, *SAID) == "hello\n"


@ONE
def test_a_full_disk_is_the_caches_trouble_and_not_the_runtimes(
    node: Node, upstream: Upstream, tmp_path: Path
) -> None:
    made = hello(40 * MIB)
    name = upstream.offer("team/app", made)
    node.daemon.settings["capacity"] = "30MiB"
    node.daemon.start()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    refused = node.warm(name, code=None)
    assert "failed" in refused
