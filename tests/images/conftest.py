"""A registry behind a proxy, and a node that pulls from it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.images.site import Node, Upstream
from tests.servers.containerd import lacking
from tests.servers.faulty import FaultyServer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Upstream]:
    """A registry that lets anybody do all."""
    if DOCKER_REGISTRY is None:
        pytest.skip("no docker-registry: make packages installs it")
    with DockerRegistry(tmp_path / "registry") as registry, FaultyServer(registry.endpoint) as front:
        yield Upstream(registry, front)


@pytest.fixture(params=["1.6", "1.7"])
def node(request: pytest.FixtureRequest, tmp_path: Path, upstream: Upstream) -> Iterator[Node]:
    """A node with that containerd; parametrize it indirectly to have one version only."""
    if why := lacking(request.param):
        pytest.skip(why)
    with Node(tmp_path / "node", upstream, containerd=request.param) as node:
        yield node
