"""Tags that move, images that the catalog keeps warm, and room that images and models share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faults import Fault
from tests.servers.images import image, index
from tests.servers.layers import Noise, layer
from tests.system.waiting import eventually

DOWN = Fault(path="/v2/*", method="", status=503, times=None)


@pytest.fixture
def bare(tmp_path: Path, upstream: Upstream) -> Iterator[Node]:
    """A node without a container runtime."""
    with Node(tmp_path / "node", upstream, containerd="") as node:
        yield node


@pytest.fixture(params=["1.7"])
def node(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[Node]:
    if why := lacking(request.param):
        pytest.skip(why)
    with Node(tmp_path / "node", upstream, containerd=request.param) as node:
        yield node


def listed(node: Node) -> dict[str, Any]:
    """What `cachectl ls --images` tells, by ref without its scheme."""
    said = json.loads(node.daemon.cachectl("ls", "--images", "-o", "json").stdout)
    return {each["ref"].removeprefix("oci://"): each for each in said["artifacts"]}


def test_a_tag_is_what_its_registry_says_now(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(MIB))
    node.daemon.start()
    node.containerd.pull(name)
    upstream.offer("team/app", hello(MIB, says="moved"))
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "moved\n"


def test_while_the_registry_is_down_the_tag_last_known_counts_for_a_while(
    node: Node, upstream: Upstream
) -> None:
    name = upstream.offer("team/app", hello(MIB))
    node.daemon.settings["images"]["max_stale"] = "4s"
    node.daemon.start()
    node.containerd.pull(name)
    node.containerd.remove(name)
    upstream.front.inject(DOWN)
    node.containerd.pull(name)
    assert node.daemon.metric("cached_stale_tags_total") >= 1
    assert node.daemon.logged("a registry does not answer; the tag last known is used")
    node.containerd.remove(name)
    eventually(lambda: not _pulls(node, name), 30)
    upstream.front.heal()
    node.containerd.pull(name)


def test_a_tag_that_was_deleted_is_gone_and_an_outage_does_not_bring_it_back(
    node: Node, upstream: Upstream
) -> None:
    name = upstream.offer("team/app", hello(MIB))
    node.daemon.start()
    node.containerd.pull(name)
    node.containerd.remove(name)
    upstream.front.inject(Fault(path="/v2/team/app/manifests/v1", method="", status=404, times=None))
    assert not _pulls(node, name)
    upstream.front.heal()
    upstream.front.inject(DOWN)
    assert not _pulls(node, name)


def test_the_catalogs_images_are_kept_warm_unpacked_and_pinned(node: Node, upstream: Upstream) -> None:
    name, other = upstream.offer("team/app", hello(2 * MIB)), upstream.offer("team/other", hello(MIB, seed=3))
    node.daemon.settings["catalog"] = str(node.daemon.catalog)
    node.write_catalog({name: {"pull": True, "pin": True}, other: None})
    node.daemon.start()
    eventually(lambda: listed(node)[name]["in_runtime"] and listed(node)[other]["state"] == "warm", 30)
    assert node.containerd.run(name, *SAID) == "hello\n"
    pinned = 'labels."io.cri-containerd.pinned"==pinned'
    eventually(lambda: name in node.containerd.ctr("images", "ls", "-q", pinned), 20)
    # Kubelet's collector does not respect every wish: what it took comes again.
    node.containerd.remove(name)
    eventually(lambda: name in node.containerd.images(), 40)
    third = upstream.offer("team/third", hello(MIB, seed=5))
    node.write_catalog({third: {}})
    eventually(lambda: listed(node).get(third, {}).get("state") == "warm", 30)


def test_a_restart_finds_images_and_tags_again(bare: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(3 * MIB))
    bare.daemon.start()
    bare.warm(name)
    bare.daemon.kill9()
    bare.daemon.start()
    assert listed(bare)[name]["state"] == "warm"
    read = upstream.read()
    assert "warm" in bare.warm(name)
    assert upstream.read() == read
    upstream.front.inject(DOWN)
    assert "warm" in bare.warm(name)


def test_images_are_evicted_pinned_and_verified_like_models(bare: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(3 * MIB))
    ref = f"oci://{name}"
    bare.daemon.settings["images"]["grace"] = "1s"
    bare.daemon.start()
    bare.warm(name)
    bare.daemon.cachectl("pin", ref)
    assert "held" in bare.daemon.cachectl("evict", ref, code=None).stderr
    bare.daemon.cachectl("unpin", ref)
    bare.daemon.cachectl("verify", ref)
    assert name.partition("/")[0] in bare.daemon.cachectl("describe", ref).stdout
    bare.daemon.cachectl("evict", ref)
    assert name not in listed(bare)


def test_one_budget_for_images_and_models_and_the_least_used_goes(bare: Node, upstream: Upstream) -> None:
    names = [
        upstream.offer(f"team/{n}", image([layer({"x": Noise(8 * MIB, n)}, compression="")]))
        for n in range(2)
    ]
    bare.daemon.settings |= {"capacity": "20MiB"}
    source = bare.daemon.home / "models" / "m"
    source.mkdir(parents=True)
    (source / "weights").write_bytes(bytes(8 * MIB))
    bare.daemon.settings["allow_sources"] = [f"file://{source.parent}"]
    bare.daemon.start()
    bare.warm(names[0])
    bare.daemon.cachectl("warm", f"file://{source}")
    bare.warm(names[1])
    states = {name: each["state"] for name, each in listed(bare).items()}
    assert states[names[0]] != "warm"
    assert states[names[1]] == "warm"
    models = json.loads(bare.daemon.cachectl("ls", "-o", "json").stdout)["artifacts"]
    assert [each["state"] for each in models] == ["warm"]


def test_another_platforms_image_is_kept_beside_the_own(bare: Node, upstream: Upstream) -> None:
    both = index([hello(MIB), image([layer({"arm": Noise(2 * MIB, 4)})], platform="linux/arm64")])
    name = upstream.offer("team/app", both)
    bare.daemon.start()
    bare.warm(name)
    bare.warm(name, "--platform", "linux/arm64")
    assert {key for key, each in listed(bare).items() if each["state"] == "warm"} == {
        name,
        f"{name}?platform=linux/arm64",
    }
    assert (
        "linux/s390x"
        in bare.daemon.cachectl("warm", "--image", name, "--platform", "linux/s390x", code=None).stderr
    )
    assert upstream.read() == both.size


def test_a_registry_that_is_not_allowed_is_not_asked(bare: Node, upstream: Upstream) -> None:
    bare.daemon.start()
    done = bare.daemon.cachectl("warm", "--image", "quay.io/a/b:c", code=None)
    assert done.returncode
    assert "images.upstreams" in done.stderr


def _pulls(node: Node, name: str) -> bool:
    try:
        node.containerd.pull(name)
    except grpc.RpcError:
        return False
    return True
