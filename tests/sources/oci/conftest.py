"""Real registries: one for anybody, one with passwords, one with a token service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, basic, image, push
from tests.servers.layers import Noise, layer
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.tokens import TokenService
from tests.sources.oci.house import PASSWORD, USER, House, docker_config

OPEN, SHUT = "open/b", "shut/b"
"""Repositories of the registry with a token service: for anybody, and for its user."""


@pytest.fixture(scope="session")
def small() -> Image:
    return image([layer({"a": Noise(100_000)}), layer({"b": b"2"})])


def _installed() -> None:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed: make packages")


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, small: Image) -> Iterator[DockerRegistry]:
    """Anybody may do all."""
    _installed()
    with DockerRegistry(tmp_path_factory.mktemp("open")) as server:
        push(server.endpoint, "a/b", "v1", small)
        yield server


@pytest.fixture(scope="session")
def password_registry(tmp_path_factory: pytest.TempPathFactory, small: Image) -> Iterator[DockerRegistry]:
    """USER may do all, and nobody else anything."""
    _installed()
    with DockerRegistry(tmp_path_factory.mktemp("passwords"), users={USER: PASSWORD}) as server:
        push(server.endpoint, "a/b", "v1", small, authorization=basic(USER, PASSWORD))
        yield server


@pytest.fixture(scope="session")
def shared_tokens() -> Iterator[TokenService]:
    with TokenService({USER: PASSWORD}, public=["open/*"]) as service:
        yield service


@pytest.fixture
def tokens(shared_tokens: TokenService) -> TokenService:
    """The token service, as if new."""
    shared_tokens.expires_in, shared_tokens.field, shared_tokens.pause = 300, "token", 0.0
    shared_tokens.users = {USER: PASSWORD}
    shared_tokens.forget()
    return shared_tokens


@pytest.fixture(scope="session")
def token_registry(
    tmp_path_factory: pytest.TempPathFactory, shared_tokens: TokenService, small: Image
) -> Iterator[DockerRegistry]:
    """Whatever its token service says."""
    _installed()
    with DockerRegistry(tmp_path_factory.mktemp("tokens"), tokens=shared_tokens) as server:
        for name in (OPEN, SHUT):
            token = shared_tokens.token(USER, f"repository:{name}:pull,push")
            push(server.endpoint, name, "v1", small, authorization=f"Bearer {token}")
        yield server


@pytest.fixture
async def house(registry: DockerRegistry, small: Image) -> AsyncIterator[House]:
    """At the registry for anybody."""
    with FaultyServer(registry.endpoint) as server:
        made = House(server, small)
        yield made
        await made.close()


@pytest.fixture
async def with_password(
    password_registry: DockerRegistry, small: Image, tmp_path: Path
) -> AsyncIterator[House]:
    """At the registry with passwords, and the node knows one."""
    with FaultyServer(password_registry.endpoint) as server:
        made = House(server, small, credentials=[docker_config(tmp_path)])
        yield made
        await made.close()


@pytest.fixture
async def with_tokens(
    token_registry: DockerRegistry, tokens: TokenService, small: Image, tmp_path: Path
) -> AsyncIterator[House]:
    """At the repository SHUT of the registry with a token service, and the node knows a password."""
    with FaultyServer(token_registry.endpoint) as server:
        made = House(server, small, SHUT, credentials=[docker_config(tmp_path)])
        yield made
        await made.close()
