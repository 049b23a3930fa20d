"""What the tests of S3 share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.sources.bucket import Bucket


@pytest.fixture
def credentials(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys of the real server where boto3's own chain finds them, and nothing else for it to find."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")


@pytest.fixture(scope="session")
def plain_bucket(s3: S3Server) -> str:
    """Shared, since the first object in a bucket takes the server a quarter of a second."""
    return s3.make_bucket()


@pytest.fixture(scope="session")
def versioned_bucket(s3: S3Server) -> str:
    return s3.make_bucket(versioned=True)


@pytest.fixture
async def bucket(s3: S3Server, plain_bucket: str, credentials: None) -> AsyncIterator[Bucket]:
    place = Bucket(s3, plain_bucket)
    yield place
    await place.source.close()


@pytest.fixture
async def versioned(s3: S3Server, versioned_bucket: str, credentials: None) -> AsyncIterator[Bucket]:
    place = Bucket(s3, versioned_bucket)
    yield place
    await place.source.close()


@pytest.fixture
async def faulty(
    s3: S3Server, plain_bucket: str, faulty_s3: FaultyServer, credentials: None
) -> AsyncIterator[Bucket]:
    """A bucket read through `faulty_s3` and written past it."""
    place = Bucket(s3, plain_bucket, faulty_s3.endpoint)
    yield place
    await place.source.close()
