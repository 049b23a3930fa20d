"""A containerd, a registry behind a proxy that fails as told, and the adapter between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cached.runtime.containerd import Containerd as Adapter
from tests.servers.containerd import Containerd, lacking
from tests.servers.faulty import FaultyServer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """Anybody may do anything."""
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed; see make packages")
    with DockerRegistry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def front(registry: DockerRegistry) -> Iterator[FaultyServer]:
    with FaultyServer(registry.endpoint) as front:
        yield front


@pytest.fixture
def host(front: FaultyServer, containerd: Containerd) -> str:
    """The registry behind `front`, as it stands in names of images."""
    host = front.endpoint.removeprefix("http://")
    containerd.hosts_toml(host, f'server = "{front.endpoint}"\n[host."{front.endpoint}"]\n')  # plain HTTP
    return host


@pytest.fixture(params=["1.6", "1.7", pytest.param("2", marks=pytest.mark.slow)])
def containerd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Containerd]:
    if reason := lacking(request.param):
        pytest.skip(reason)
    with Containerd(tmp_path / "containerd", version=request.param) as containerd:
        yield containerd


@pytest.fixture
async def runtime(containerd: Containerd) -> AsyncIterator[Adapter]:
    runtime = Adapter(containerd.socket, answer_seconds=2)
    yield runtime
    await runtime.close()
