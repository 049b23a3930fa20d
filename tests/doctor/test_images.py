"""A real containerd with a mirror, a registry behind it, and what is said when one of them fails."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cached.cli.containerd import installed
from tests.doctor.patient import bad, seen
from tests.images.pictures import hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking, programs
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import basic
from tests.servers.ports import free_ports
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.system.waiting import eventually

VERSION = "1.7"
USERS = {"owner": "correct-horse"}


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A registry that wants to know who asks."""
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with (
        DockerRegistry(tmp_path / "registry", users=USERS) as registry,
        FaultyServer(registry.endpoint) as front,
    ):
        yield Upstream(registry, front)


@pytest.fixture
def node(tmp_path: Path, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    if why := lacking(VERSION):
        pytest.skip(why)
    monkeypatch.setenv("PATH", str(programs(VERSION)), prepend=os.pathsep)
    metrics = {"metrics": f"127.0.0.1:{free_ports(1)[0]}"}
    with Node(tmp_path / "node", upstream, containerd=VERSION, settings=metrics) as node:
        monkeypatch.setattr(installed, "USUAL", tmp_path / "node/containerd/config.toml")
        node.daemon.settings["catalog"] = str(node.daemon.catalog)
        yield node


def test_pulls_that_come_by_the_mirror_and_what_keeps_them(
    node: Node, upstream: Upstream, tmp_path: Path
) -> None:
    image = upstream.offer("team/app", hello(1 << 20), authorization=basic("owner", USERS["owner"]))
    node.write_catalog({})
    node.daemon.start()
    answers = f"{node.mirror} answers"

    def mirror() -> list[tuple[str, str]]:
        return [(each.level, each.message) for each in seen(node.daemon, "mirror")]

    assert bad(seen(node.daemon, "containerd")) == []
    well = ("ok", f"{upstream.host} answers by way of the mirror")
    assert mirror() == [("ok", f"{answers}; no pull has come by since the daemon started"), well]
    node.containerd.pull(image, ("owner", USERS["owner"]))
    told = mirror()
    assert told[0][1].startswith(f"{answers}; ")
    assert told[0][1].endswith(" requests were served here")
    assert told[1] == well

    node.write_catalog({image: {}})
    eventually(lambda: bad(seen(node.daemon, "sources")) != [])
    (refused,) = bad(seen(node.daemon, "sources"))
    assert refused.startswith(f"oci://{image}: {upstream.host} wants credentials for ")
    assert bad(seen(node.daemon, "mirror")) == [], "pods with a pull secret may have it"

    upstream.front.inject(Fault(path="/v2/team/*", method="", status=503, times=None))
    (message,) = bad(seen(node.daemon, "mirror"))
    assert message.startswith(f"the mirror cannot ask {upstream.host}: ")

    hosts = tmp_path / "node/containerd/certs.d" / upstream.host / "hosts.toml"
    hosts.unlink()
    (message,) = bad(seen(node.daemon, "containerd"))
    assert message == f"{hosts} is not there: images do not come through the mirror"
    node.daemon.kill9()
    (message,) = bad(seen(node.daemon, "mirror", node.daemon.config))
    assert message == f"{node.mirror} does not answer: Connection refused"


def test_credentials_that_a_registry_refuses(node: Node, upstream: Upstream, tmp_path: Path) -> None:
    """Those of this node, which counts for what all its pods may have."""
    image = upstream.offer("team/app", hello(1 << 20), authorization=basic("owner", USERS["owner"]))
    wrong = tmp_path / "config.json"
    secret = {"username": "owner", "password": "hunter2"}
    wrong.write_text(json.dumps({"auths": {upstream.host: secret}}))
    wrong.chmod(0o600)
    images = node.daemon.settings["images"]
    images["credentials"] = [str(wrong)]
    images["upstreams"][upstream.host]["trusted"] = ["**"]
    node.write_catalog({image: {}})
    node.daemon.start()
    (refused,) = bad(seen(node.daemon, "sources"))
    assert "does not accept the node's credentials" in refused
    upstream.front.inject(Fault(path="/v2/team/*", method="", status=403, times=None))
    (denied,) = bad(seen(node.daemon, "mirror"))
    assert denied.startswith(f"{upstream.host} lets this node not have an image of the catalog: ")
    assert "hunter2" not in denied + refused
