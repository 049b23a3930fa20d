"""Fixtures that every room shares: real servers on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.servers.seaweed import SeaweedFS
from tests.servers.upstream import Files


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """One SeaweedFS for each process of the run; whoever wants to kill one starts his own."""
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture(scope="session")
def s3(seaweed: SeaweedFS) -> S3Server:
    """A real S3 endpoint; make your own bucket in it."""
    return S3Server(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)


@pytest.fixture
def faulty_s3(s3: S3Server) -> Iterator[FaultyServer]:
    """A proxy before the real S3 server that fails as told; `s3.behind(faulty_s3.endpoint)` speaks to it."""
    with FaultyServer(s3.endpoint) as server:
        yield server


@pytest.fixture
def files() -> Files:
    """What `origin` serves."""
    return Files()


@pytest.fixture
def origin(files: Files) -> Iterator[FaultyServer]:
    """A plain HTTP origin of `files` that fails as told."""
    with FaultyServer(files) as server:
        yield server
