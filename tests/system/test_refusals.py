"""What is asked for and may not be had: each answer names the thing, and says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cached.core.errors import CachedError, Denied, InvalidRequest, NotFound, Unauthenticated
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import make_content, upload


def test_names_that_the_catalog_does_not_have(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = start(
        {"known": {"source": "s3://some-bucket/m", "revision": "v1"}}, server=s3.behind(faulty_s3.endpoint)
    )
    client = daemon.client()
    with pytest.raises(NotFound, match="unknown"):
        client.acquire("unknown")
    with pytest.raises(NotFound, match="v2"):
        client.acquire("known@v2")
    for hostile in (
        "",
        "../known",
        "known/..",
        "/known",
        "a//b",
        "x" * 201,
        "known@../..",
        "kn\0wn",
        "ü",
        "-o",
    ):
        with pytest.raises(InvalidRequest):
            client.acquire(hostile)
    assert faulty_s3.requests(method="") == []
    told = daemon.cachectl("get", "unknown", code=3)
    assert told.stdout == ""
    assert "hint: " in told.stderr


def test_sources_beside_the_allowed_prefixes(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, tmp_path: Path
) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "open/m", {"a": b"yes"})
    upload(s3, bucket, "closed", {"a": b"no"})
    allowed = tmp_path / "allowed"
    (allowed / "m").mkdir(parents=True)
    (allowed / "m" / "a").write_bytes(b"yes")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a").write_bytes(b"no")
    (allowed / "way-out").symlink_to(tmp_path / "secret")
    daemon = start(
        {},
        server=s3.behind(faulty_s3.endpoint),
        settings={"allow_sources": [f"s3://{bucket}/open/", f"file://{allowed}"]},
    )
    client = daemon.client()
    for refused in (
        f"s3://{bucket}/closed",
        f"s3://{bucket}/open/../closed",
        f"s3://{bucket}/open/./../closed/a",
        f"s3://{bucket}/openly",
        f"s3://{bucket}x/open/m",
        f"s3://{bucket}",
        f"file://{tmp_path}/secret",
        f"file://{allowed}/../secret",
        f"file://{allowed}-too",
        "file:///etc/passwd",
        "http://127.0.0.1/",
        "S3://x/y",
        "gopher://x",
    ):
        with pytest.raises((Denied, InvalidRequest)):
            client.acquire(refused)
    assert faulty_s3.requests(method="") == []
    for nothing_there in (
        f"s3://{bucket}/open/%2e%2e/closed",
        f"s3://{bucket}/open/..%2fclosed",
        f"file://{allowed}/%2e%2e/secret",
        f"file://{allowed}/way-out",
        f"file://{allowed}/way-out/a",
    ):
        with pytest.raises(CachedError) as refused_too:
            client.acquire(nothing_there)
        assert isinstance(refused_too.value, (NotFound, InvalidRequest, Denied)), nothing_there
    assert faulty_s3.sent("*closed*") == 0
    for good in (f"s3://{bucket}/open/m", f"file://{allowed}/m"):
        assert (client.acquire(good).path / "a").read_bytes() == b"yes"


def test_wrong_credentials(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", {"a": b"x"})
    models = {"m": {"source": f"s3://{bucket}/m"}}
    for wrong in (
        replace(s3, secret_key="wrong-secret-8d1f"),
        replace(s3, access_key="nobody", secret_key="wrong-secret-8d1f"),
    ):
        daemon = start(models, server=wrong)
        with pytest.raises((Unauthenticated, Denied)) as refused:
            daemon.client().acquire("m")
        assert f"s3://{bucket}/m" in str(refused.value)
        assert refused.value.hint
        assert "wrong-secret" not in str(refused.value) + daemon.log
        assert daemon.operator().describe("m").artifact.state == 4
        daemon.cachectl("get", "m", code=4)


def test_no_credentials_at_all(start: Start, s3: S3Server, tmp_path: Path) -> None:
    daemon = start(
        {"m": {"source": "s3://some-bucket/m"}},
        environment={"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": str(tmp_path)},
    )
    with pytest.raises(Unauthenticated, match="s3://some-bucket/m"):
        daemon.client().acquire("m")


def test_missing_buckets_and_keys(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"a.bin": 10}, 1))
    daemon = start(
        {
            "bucket": {"source": "s3://no-such-bucket/m"},
            "prefix": {"source": f"s3://{bucket}/nothing/here/"},
            "key": {"source": f"s3://{bucket}/nothing.bin"},
            "patterns": {"source": f"s3://{bucket}/m", "include": ["*.safetensors"]},
        }
    )
    client = daemon.client()
    for name, said in (
        ("bucket", "no-such-bucket"),
        ("prefix", "nothing/here"),
        ("key", "nothing.bin"),
        ("patterns", "include"),
    ):
        with pytest.raises(NotFound, match=said):
            client.acquire(name)
    daemon.cachectl("get", "key", code=3)


def test_a_key_that_goes_away_before_it_is_read(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"a.bin": 10, "b.bin": 10}, 1))
    daemon = start({"m": {"source": f"s3://{bucket}/m"}}, server=s3.behind(faulty_s3.endpoint))
    faulty_s3.inject(Fault(path="*/b.bin", before=lambda: s3.delete(bucket, "m/b.bin")))
    with pytest.raises(CachedError, match=r"b\.bin"):
        daemon.client().acquire("m")
    assert list((daemon.root / "trees").iterdir()) == []
