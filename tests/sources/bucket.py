"""A prefix of a bucket as a place to test."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from cached.sources.s3 import S3Options, S3Source
from cached.telemetry.metrics import Metrics
from tests.servers.s3 import S3Server

_numbers = itertools.count(1)


class Bucket:
    """A fresh prefix in the bucket `name` of `server`, read at `endpoint`, by way of a proxy perhaps."""

    hostile = ("line\nbreak", "\x01", "x" * 250 + "/" + "\x7f")

    def __init__(self, server: S3Server, name: str, endpoint: str = "") -> None:
        self.server = server
        self.name = name
        self.prefix = f"models/{next(_numbers)}"
        self.uri = f"s3://{name}/{self.prefix}"
        self.metrics = Metrics()
        self.source = S3Source(
            self.metrics, S3Options(endpoint=endpoint or server.endpoint, region=server.region)
        )

    def put(self, path: str, data: bytes, checksum: str = "") -> None:
        self.server.put(self.name, f"{self.prefix}/{path}", data, checksum=checksum)

    def put_many(self, paths: Iterable[str], data: bytes) -> None:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda path: self.put(path, data), paths))

    def remove(self, path: str) -> None:
        self.server.delete(self.name, f"{self.prefix}/{path}")
