"""The kinds of volumes: flat, some files, the hub's cache, the pods' socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from tests.csi.node import Node, open_node, refused, shown
from tests.publish.playground import Playground

Code = grpc.StatusCode

_FIND = """
import os, sys
os.environ["HF_HUB_OFFLINE"] = "1"
from huggingface_hub import hf_hub_download, snapshot_download
cache = sys.argv[1]
print(open(hf_hub_download("org/m", "f", cache_dir=cache)).read())
print(open(hf_hub_download("org/m", "d/config.json", revision="v1", cache_dir=cache)).read())
print(sorted(os.listdir(snapshot_download("org/m", cache_dir=cache))))
"""


def _found_by_the_library(cache: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _FIND, cache],
        env={**os.environ, "HF_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_some_files_only(node: Node) -> None:
    volume = node.volume(model="org/m", include="*.json, *.none\n*.txt")
    await volume.mount()
    assert not (volume.target / "f").exists()
    assert node.receiver.sees(volume.target / "d" / "config.json") == "{}"
    assert node.house.source.opens == 1
    await volume.set_up()
    await volume.tear_down()
    error = await refused(node.volume(model="org/m", include="*.none"))
    assert error.code() is Code.NOT_FOUND


async def test_a_hub_cache_that_the_hubs_own_library_finds(node: Node, playground: Playground) -> None:
    volume = node.volume(model="org/m", view="hub")
    await volume.mount()
    found = _found_by_the_library(volume.target, playground.path / "hf")
    assert found.stdout.splitlines() == ["model", "{}", "['d', 'f']"], found.stderr
    assert node.receiver.run("touch", volume.target / "x").returncode
    [lease] = node.leases
    assert lease.ref == "org/m@v1?view=hub"
    assert node.driver.sample("cached_volumes", model="org/m") == 1
    await volume.set_up()
    await volume.tear_down()
    assert (shown(playground), node.leases) == ([], [])


async def test_flat_is_what_it_is_anyway(node: Node) -> None:
    volume = node.volume(model="org/m", view="flat")
    await volume.mount()
    await volume.pod.volume({"model": "org/m@v1"}).set_up()
    assert [lease.ref for lease in node.leases] == ["org/m@v1"]


async def test_the_pods_socket(node: Node, playground: Playground) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(playground.path / "run/pods/cached.sock"))
        server.listen()
        volume = node.volume(socket="true")
        await volume.mount()
        assert node.leases == []
        assert node.driver.sample("cached_socket_volumes") == 1
        # The path of a socket is short where a pod mounts it, and here it is not.
        connect = f"import os, socket; os.chdir('{volume.target}'); socket.socket(1).connect('cached.sock')"
        assert node.receiver.run(sys.executable, "-c", connect).returncode == 0
        assert node.receiver.run("rm", volume.target / "cached.sock").returncode
        await volume.set_up()
        assert (await refused(volume.pod.volume({"model": "org/m"}))).code() is Code.ALREADY_EXISTS
        await volume.tear_down()
    assert shown(playground) == []
    assert node.driver.sample("cached_socket_volumes") == 0


async def test_whose_pods_may_have_the_socket(playground: Playground, models: dict[str, str]) -> None:
    async with open_node(playground, models, socket_namespaces=("team-a",)) as node:
        await node.volume("team-a", socket="true").mount()
        error = await refused(node.volume("team-b", socket="true"))
        assert error.code() is Code.PERMISSION_DENIED
        assert "csi.socket_namespaces" in str(error.details())


async def test_no_room_is_no_reason_to_give_up(playground: Playground, models: dict[str, str]) -> None:
    """Kubelet asks again after it: room may come when another pod ends."""
    async with open_node(playground, models, capacity=3 * 4096) as node:
        first, second = node.volume(model="org/m"), node.volume(model="other", view="hub")
        await first.mount()
        error = await refused(second)
        assert error.code() is Code.RESOURCE_EXHAUSTED
        await first.tear_down()
        assert await second.mount() == []


@pytest.mark.parametrize("view", ["flat", "hub"])
async def test_larger_than_the_whole_cache(playground: Playground, models: dict[str, str], view: str) -> None:
    async with open_node(playground, models, capacity=4096) as node:
        error = await refused(node.volume(model="org/m", view=view))
        assert error.code() is Code.FAILED_PRECONDITION
        assert node.leases == []
