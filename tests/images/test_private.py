"""Private images: nobody gets from the mirror what the registry would not give him."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from tests.images.pictures import MIB, SAID, hello
from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import basic
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.tokens import TokenService

OWNER, PASSWORD = "owner", "correct-horse"
MINE = (OWNER, PASSWORD)


class Guarded(Upstream):
    """A registry that asks who it is; `tokens` signs for it, None where passwords are asked for."""

    def __init__(self, registry: DockerRegistry, front: FaultyServer, tokens: TokenService | None) -> None:
        super().__init__(registry, front)
        self.tokens = tokens

    def private(self, name: str, seed: int = 1) -> str:
        """Push an image as its owner."""
        shown = basic(*MINE)
        if self.tokens is not None:
            shown = f"Bearer {self.tokens.token(OWNER, f'repository:{name}:pull,push')}"
        return self.offer(name, hello(3 * MIB, seed=seed), authorization=shown)


@pytest.fixture(params=["basic", "tokens"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Guarded]:
    """A registry that asks who it is."""
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    if request.param == "basic":
        with (
            DockerRegistry(tmp_path / "registry", users={OWNER: PASSWORD}) as registry,
            FaultyServer(registry.endpoint) as front,
        ):
            yield Guarded(registry, front, None)
        return
    with (
        TokenService(
            {OWNER: PASSWORD, "stranger": "x"}, members={"team/*": [OWNER]}, public=["open/*"]
        ) as tokens,
        DockerRegistry(tmp_path / "registry", tokens=tokens) as registry,
        FaultyServer(registry.endpoint) as front,
    ):
        yield Guarded(registry, front, tokens)


@pytest.fixture
def node(tmp_path: Path, guarded: Guarded) -> Iterator[Node]:
    if why := lacking("1.7"):
        pytest.skip(why)
    with Node(tmp_path / "node", guarded) as node:
        yield node


def status(node: Node, upstream: Upstream, path: str, authorization: str = "") -> tuple[int, str]:
    """What the mirror answers to a GET, and its challenge."""
    request = urllib.request.Request(f"{node.mirror}/v2/{path}?ns={upstream.host}")
    if authorization:
        request.add_header("Authorization", authorization)
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            answer.read()
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("WWW-Authenticate", "")


def test_who_may_read_pulls_through_the_mirror_and_nobody_else_does(node: Node, guarded: Guarded) -> None:
    name = guarded.private("team/app")
    node.daemon.start()
    node.containerd.pull(name, MINE)
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert guarded.gets(by="containerd") == 0
    # All of it is here now, and still for nobody who does not show the same.
    node.containerd.remove(name)
    for shown in (None, (OWNER, "wrong")):
        with pytest.raises(grpc.RpcError):
            node.containerd.pull(name, shown)
    blob = hello(3 * MIB).layers[0].digest
    code, challenge = status(node, guarded, f"team/app/blobs/{blob}")
    assert code == 401
    assert challenge.partition(" ")[0] in ("Basic", "Bearer")
    assert status(node, guarded, f"team/app/blobs/{blob}", basic(OWNER, "wrong"))[0] in (401, 403)
    assert PASSWORD not in node.daemon.log
    assert base64.b64encode(f"{OWNER}:{PASSWORD}".encode()).decode() not in node.daemon.log


def test_a_blob_is_given_only_for_repositories_that_hold_it(node: Node, guarded: Guarded) -> None:
    guarded.private("team/secret")
    guarded.private("team/other", seed=9)
    node.daemon.settings["images"]["upstreams"][guarded.host]["trusted"] = ["team/*"]
    node.daemon.settings["images"]["credentials"] = [str(config(node, guarded))]
    node.daemon.start()
    node.warm(f"{guarded.host}/team/secret:v1")
    blob = hello(3 * MIB).layers[-1].digest
    assert status(node, guarded, f"team/secret/blobs/{blob}")[0] == 200
    assert status(node, guarded, f"team/other/blobs/{blob}")[0] == 404
    assert status(node, guarded, f"elsewhere/other/blobs/{blob}")[0] in (401, 404)
    assert status(node, guarded, f"team/other/manifests/{hello(3 * MIB).digest}")[0] == 404


def test_a_trusted_repository_is_open_to_the_nodes_pods_and_no_other_is(node: Node, guarded: Guarded) -> None:
    name, other = guarded.private("team/app"), guarded.private("team/private", seed=5)
    node.daemon.settings["images"]["upstreams"][guarded.host]["trusted"] = ["team/app"]
    node.daemon.settings["images"]["credentials"] = [str(config(node, guarded))]
    node.daemon.start()
    node.containerd.pull(name)
    assert node.containerd.run(name, *SAID) == "hello\n"
    node.warm(other)  # the node itself may
    with pytest.raises(grpc.RpcError):
        node.containerd.pull(other)
    node.containerd.pull(other, MINE)


def test_a_private_image_is_unpacked_with_the_nodes_own_credentials(node: Node, guarded: Guarded) -> None:
    name = guarded.private("team/app")
    node.daemon.settings["images"]["credentials"] = [str(config(node, guarded))]
    node.daemon.start()
    node.warm(name, "--pull")
    assert node.containerd.run(name, *SAID) == "hello\n"
    assert guarded.gets(by="containerd") == 0
    assert PASSWORD not in node.daemon.log


def test_a_registry_that_is_down_opens_nothing(node: Node, guarded: Guarded) -> None:
    name = guarded.private("team/app")
    node.daemon.settings["images"]["credentials"] = [str(config(node, guarded))]
    node.daemon.start()
    node.warm(name)
    guarded.front.inject(Fault(path="*", method="", status=503, times=None))
    with pytest.raises(grpc.RpcError):
        node.containerd.pull(name)
    assert status(node, guarded, "team/app/manifests/v1")[0] == 404


def config(node: Node, upstream: Upstream) -> Path:
    """A mounted pull secret."""
    secret = node.daemon.home / "secret"
    secret.mkdir(exist_ok=True)
    auth = base64.b64encode(f"{OWNER}:{PASSWORD}".encode()).decode()
    (secret / ".dockerconfigjson").write_text(json.dumps({"auths": {upstream.host: {"auth": auth}}}))
    return secret
