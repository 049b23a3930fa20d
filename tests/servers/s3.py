"""How tests speak to an S3 server of their own."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import boto3
from botocore.config import Config

_numbers = itertools.count(1)


@dataclass(frozen=True)
class S3Server:
    """An S3 endpoint and the keys that it takes. Methods block; errors are botocore's."""

    endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str = "us-east-1"

    @cached_property
    def client(self) -> Any:
        """A boto3 client with path-style addressing."""
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(
                s3={"addressing_style": "path"}, max_pool_connections=32, retries={"mode": "standard"}
            ),
        )

    def behind(self, endpoint: str) -> S3Server:
        """The same server by another address, such as a proxy's."""
        return replace(self, endpoint=endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """What boto3 in another process, or under monkeypatch, needs to reach this server and no other.

        The endpoint is `AWS_ENDPOINT_URL_S3`; no profile, no file and no metadata service is consulted.
        """
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def make_bucket(self, *, versioned: bool = False) -> str:
        """Create an empty bucket under a name not used before; returns the name."""
        name = f"bucket-{next(_numbers)}"
        self.client.create_bucket(Bucket=name)
        if versioned:
            self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        return name

    def put(
        self, bucket: str, key: str, body: bytes, *, checksum: str = "", **more: Any
    ) -> Mapping[str, Any]:
        """Upload in one request; `checksum` is SHA256, CRC32, CRC32C or CRC64NVME. Returns the answer."""
        extra = {"ChecksumAlgorithm": checksum} if checksum else {}
        answer: Mapping[str, Any] = self.client.put_object(Bucket=bucket, Key=key, Body=body, **extra, **more)
        return answer

    def delete(self, bucket: str, key: str) -> None:
        self.client.delete_object(Bucket=bucket, Key=key)
