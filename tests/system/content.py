"""Models made for tests: known bytes, put where a daemon may fetch them."""

from __future__ import annotations

import random
import stat
from collections.abc import Mapping
from pathlib import Path

from tests.servers.s3 import S3Server

MIB = 1 << 20

Content = Mapping[str, bytes]


def random_bytes(size: int, seed: object) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def make_content(sizes: Mapping[str, int], seed: object) -> dict[str, bytes]:
    """Files by path, of these sizes; another seed, other bytes."""
    return {path: random_bytes(size, f"{seed}/{path}") for path, size in sizes.items()}


def upload(s3: S3Server, bucket: str, prefix: str, content: Content, *, checksum: str = "") -> None:
    for path, data in content.items():
        s3.put(bucket, f"{prefix}/{path}", data, checksum=checksum)


def assert_same(path: Path, content: Content) -> None:
    """The tree at `path` holds these files and no others, byte for byte, and nobody may write to it."""
    found = {str(file.relative_to(path)) for file in path.rglob("*") if not file.is_dir()}
    assert found == set(content)
    for name, data in content.items():
        file = path / name
        assert file.read_bytes() == data, f"{name} differs"
        assert stat.S_IMODE(file.stat().st_mode) == 0o444
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o555
