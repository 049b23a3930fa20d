"""Registries that send a node elsewhere: it shows nothing there, and fetches nothing that it should not."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.pictures import MIB, hello
from tests.images.site import Node, Upstream
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, basic
from tests.servers.layers import Blob
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.upstream import Files

MADE = hello(3 * MIB)
LAYER = MADE.layers[-1]
OWNER, PASSWORD = "owner", "correct-horse"
SHOWN = basic(OWNER, PASSWORD)


@pytest.fixture
def files() -> Files:
    return Files()


@pytest.fixture
def elsewhere(files: Files) -> Iterator[FaultyServer]:
    """A server that is none of the registry's; it records who asks."""
    with FaultyServer(files, host="127.0.0.2") as server:
        yield server


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A registry that wants a password."""
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with (
        DockerRegistry(tmp_path / "registry", users={OWNER: PASSWORD}) as registry,
        FaultyServer(registry.endpoint) as front,
    ):
        yield Upstream(registry, front)


@pytest.fixture
def node(tmp_path: Path, upstream: Upstream) -> Iterator[Node]:
    """Its daemon knows the password; it has no runtime, since only the daemon is tried."""
    auth = base64.b64encode(f"{OWNER}:{PASSWORD}".encode()).decode()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {upstream.host: {"auth": auth}}}))
    with Node(tmp_path / "node", upstream, containerd="", images={"credentials": [str(config)]}) as node:
        node.daemon.start()
        yield node
        assert PASSWORD not in node.daemon.log
        assert auth not in node.daemon.log


def ask(node: Node, upstream: Upstream, path: str) -> tuple[int, bytes, str]:
    """Status, body and challenge of the mirror's answer to the owner."""
    url = f"{node.mirror}/v2/{path}?ns={upstream.host}"
    request = urllib.request.Request(url, headers={"Authorization": SHOWN})
    try:
        with urllib.request.urlopen(request, timeout=15) as answer:
            return answer.status, answer.read(), ""
    except urllib.error.HTTPError as error:
        return error.code, error.read(), error.headers.get("WWW-Authenticate", "")


def test_a_token_service_elsewhere_is_asked_for_nothing(
    node: Node, upstream: Upstream, elsewhere: FaultyServer
) -> None:
    upstream.offer("team/app", MADE, authorization=SHOWN)
    realm = f'Bearer realm="{elsewhere.endpoint}/token",service="s",scope="repository:team/app:pull"'
    challenge = {"WWW-Authenticate": realm}
    upstream.front.inject(Fault(path="/v2/*", method="", status=401, headers=challenge, times=None))
    said = node.daemon.cachectl("warm", "--image", f"{upstream.host}/team/app:v1", code=None)
    assert said.returncode
    assert "token_hosts" in said.stdout + said.stderr
    for path in ("manifests/v1", f"manifests/{MADE.digest}", f"blobs/{LAYER.digest}", "tags/list"):
        status, body, passed = ask(node, upstream, f"team/app/{path}")
        assert (status, passed) == (404, ""), "nor is a puller sent there"
        assert elsewhere.endpoint.encode() not in body
    assert elsewhere.requests(method="") == []


def test_a_redirect_is_followed_without_what_proves_the_reader(
    node: Node, upstream: Upstream, elsewhere: FaultyServer, files: Files
) -> None:
    name = upstream.offer("team/app", MADE, authorization=SHOWN)
    files.put("/store/layer", LAYER.data)
    away = {"Location": f"{elsewhere.endpoint}/store/layer"}
    upstream.front.inject(
        Fault(path=f"/v2/*/blobs/{LAYER.digest}", method="", status=307, headers=away, times=None)
    )
    status, body, _ = ask(node, upstream, f"team/app/blobs/{LAYER.digest}")
    assert (status, hashlib.sha256(body).hexdigest()) == (200, LAYER.digest[7:])
    assert "warm" in node.warm(name)
    assert elsewhere.sent("/store/layer") == LAYER.size
    for seen in elsewhere.requests(method=""):
        assert "authorization" not in seen.headers
        assert SHOWN not in seen.headers.values()
    assert all("authorization" in seen.headers for seen in upstream.front.requests(f"*{LAYER.digest}", ""))


def test_a_redirect_to_what_is_no_store_is_not_followed(node: Node, upstream: Upstream) -> None:
    name = upstream.offer("team/app", MADE, authorization=SHOWN)
    for location in (
        "file:///etc/passwd",
        "ftp://127.0.0.2/x",
        "gopher:x",
        "http://",
        "data:,x",
        "http://[::1",
    ):
        upstream.front.heal()
        away = {"Location": location}
        upstream.front.inject(Fault(path="*/blobs/*", method="", status=307, headers=away, times=None))
        assert "failed" in node.warm(name, code=None), location
        status, body, _ = ask(node, upstream, f"team/app/blobs/{LAYER.digest}")
        assert status == 404
        assert b"root:" not in body


def test_what_lies_elsewhere_by_its_manifest_is_not_fetched(
    node: Node, upstream: Upstream, elsewhere: FaultyServer, files: Files
) -> None:
    """Foreign layers have URLs. It is for the runtime to go there, if it wants to."""
    data = b"for windows only" * 10_000
    foreign = Blob.of(data, "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
    files.put("/foreign", data)
    manifest = json.loads(MADE.manifest.data)
    manifest["layers"].append(foreign.descriptor | {"urls": [f"{elsewhere.endpoint}/foreign"]})
    said = json.dumps(manifest).encode()
    made = Image(Blob.of(said, MADE.manifest.media_type), MADE.blobs)
    name = upstream.offer("team/app", made, authorization=SHOWN)
    assert "warm" in node.warm(name)
    status, body, _ = ask(node, upstream, f"team/app/blobs/{foreign.digest}")
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
    assert ask(node, upstream, "team/app/manifests/v1")[1] == said
    assert elsewhere.requests(method="") == []
