"""A node is ready once the images of its catalog are here, and unpacked where that is wanted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faults import Fault

DOWN = Fault(path="/v2/team/*", method="", status=503, times=None)


def ready(node: Node, *arguments: str, code: int) -> dict[str, Any]:
    told = node.daemon.cachectl("node", "ready", "-q", *arguments, "-o", "json", code=code, seconds=60)
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


@pytest.fixture
def bare(tmp_path: Path, upstream: Upstream) -> Iterator[Node]:
    """A node without a container runtime."""
    with Node(tmp_path / "node", upstream, containerd="") as node:
        yield node


def test_images_that_are_not_here_are_missing(bare: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", hello(MIB))
    bare.daemon.settings["catalog"] = str(bare.daemon.catalog)
    bare.write_catalog({name: None})
    upstream.front.inject(DOWN)
    bare.daemon.start()
    answer = ready(bare, code=18)
    assert (answer["serving"], answer["wanted_count"]) == (True, 1)
    assert [each["ref"] for each in answer["missing"]] == [f"oci://{name}"]
    upstream.front.heal()
    answer = ready(bare, "--wait", "--timeout", "50s", code=0)
    assert (answer["ready"], answer["missing"]) == (True, [])


def test_those_to_be_pulled_are_there_once_they_are_unpacked(tmp_path: Path, upstream: Upstream) -> None:
    if why := lacking("1.7"):
        pytest.skip(why)
    with Node(tmp_path / "node", upstream, containerd="1.7") as node:
        name = upstream.offer("team/app", hello(MIB))
        node.daemon.settings["catalog"] = str(node.daemon.catalog)
        node.write_catalog({name: {"pull": True}})
        node.daemon.start()
        assert ready(node, "--wait", "--timeout", "50s", code=0)["ready"]
        assert node.containerd.run(name, *SAID) == "hello\n"
        node.daemon.restart()
        assert ready(node, "--wait", "--timeout", "50s", code=0)["ready"]
