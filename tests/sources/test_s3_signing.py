"""Who asks, where, and for how long: what the signed requests of `s3://` look like."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from cached.core.errors import Unauthenticated
from cached.core.source import RangeRequest, Selection, SourceFile
from cached.sources.s3 import S3Options, S3Source
from cached.sources.s3.facts import Facts
from cached.sources.s3.uri import S3Uri
from cached.telemetry.metrics import Metrics
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.sources import canned
from tests.sources.bucket import Bucket
from tests.sources.canned import Canned
from tests.sources.contract import listed
from tests.sources.reader import read_range

ALL = Selection()
FILE = Facts(5, '"etag"', "v1").file(S3Uri("bucket", "models/a b/ü.bin"), "ü.bin")


async def signed(options: S3Options, file: SourceFile = FILE) -> tuple[RangeRequest, dict[str, str]]:
    """A request for `file`, and the query of its URL."""
    source = S3Source(Metrics(), options)
    request = await source.open(file)
    await source.close()
    return request, {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def test_boto3_is_not_imported_before_it_is_needed() -> None:
    """It takes a quarter of a second of a daemon's start."""
    probe = "import sys, cached.sources.s3; sys.exit(any(m.startswith('boto') for m in sys.modules))"
    subprocess.run([sys.executable, "-c", probe], check=True)


@pytest.mark.usefixtures("credentials")
class TestAddress:
    @pytest.mark.parametrize(
        ("options", "host", "path"),
        [
            (S3Options("http://store:9000"), "store:9000", "/bucket/models/"),
            (S3Options("http://store:9000", addressing="path"), "store:9000", "/bucket/models/"),
            (S3Options("http://store:9000", addressing="virtual"), "bucket.store:9000", "/models/"),
            (S3Options(region="eu-west-1"), "bucket.s3.eu-west-1.amazonaws.com", "/models/"),
            (
                S3Options(region="eu-west-1", addressing="path"),
                "s3.eu-west-1.amazonaws.com",
                "/bucket/models/",
            ),
        ],
    )
    async def test_buckets_stand_where_they_are_wanted(
        self, options: S3Options, host: str, path: str
    ) -> None:
        request, query = await signed(options)
        parts = urlsplit(request.url)
        assert parts.netloc == host
        assert parts.path == f"{path}a%20b/%C3%BC.bin"
        assert f"/{options.region or 'us-east-1'}/s3/" in query["X-Amz-Credential"]

    async def test_each_bucket_has_its_own_options(self) -> None:
        source = S3Source(Metrics(), S3Options("http://one"), {"bucket": S3Options("http://two")})
        assert (await source.open(FILE)).url.startswith("http://two/bucket/")
        other = Facts(5, '"etag"', "").file(S3Uri("other", "a"), "a")
        assert (await source.open(other)).url.startswith("http://one/other/")
        await source.close()

    async def test_the_endpoint_of_the_environment_counts(
        self, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", bucket.server.endpoint)
        bucket.put("a.bin", b"12345")
        source = S3Source(Metrics())
        (file,) = await source.list(bucket.uri, ALL)
        assert read_range(await source.open(file), 0, 5) == b"12345"
        await source.close()

    async def test_a_bucket_elsewhere_is_signed_for_where_it_is(self) -> None:
        """AWS redirects a listing to the bucket's region, and refuses ranges signed for another."""
        upstream = Canned(canned.listing(["m/a"]), region="eu-central-1")
        with FaultyServer(upstream) as server:
            source = S3Source(Metrics(), S3Options(server.endpoint, region="us-east-1", addressing="path"))
            (file,) = await source.list("s3://bucket/m", ALL)
            assert "eu-central-1" in (await source.open(file)).url
            await source.close()


@pytest.mark.usefixtures("credentials")
class TestHeaders:
    async def test_all_that_is_signed_is_told_to_the_reader(self) -> None:
        request, query = await signed(S3Options("http://store", requester_pays=True))
        assert query["versionId"] == "v1"
        assert request.etag == '"etag"'
        assert request.headers == {"If-Match": '"etag"', "x-amz-request-payer": "requester"}
        told = {name.lower() for name in request.headers} | {"host"}
        assert set(query["X-Amz-SignedHeaders"].split(";")) == told

    async def test_nothing_is_signed_for_who_is_anonymous(self) -> None:
        request, query = await signed(S3Options("http://store", anonymous=True))
        assert query == {"versionId": "v1"}
        assert request.expires_at is None

    async def test_a_request_shows_nothing_that_signs(self) -> None:
        request, query = await signed(S3Options("http://store"))
        assert query["X-Amz-Signature"] in request.url
        for text in (repr(request), str(request), f"{request}"):
            assert "X-Amz" not in text
            assert "etag" not in text

    async def test_requester_pays_is_said_in_every_call(
        self, faulty: Bucket, faulty_s3: FaultyServer
    ) -> None:
        faulty.put("a.bin", b"12345")
        source = S3Source(Metrics(), S3Options(faulty_s3.endpoint, requester_pays=True))
        (file,) = await source.list(faulty.uri, ALL)
        assert read_range(await source.open(file), 1, 2) == b"23"
        await source.close()
        seen = faulty_s3.requests() + faulty_s3.requests(method="HEAD")
        assert [each.headers.get("x-amz-request-payer") for each in seen] == ["requester"] * 3


class TestExpiry:
    @pytest.mark.usefixtures("credentials")
    async def test_an_hour_where_credentials_last(self) -> None:
        request, query = await signed(S3Options("http://store"))
        assert query["X-Amz-Expires"] == "3600"
        assert request.expires_at is not None
        assert 3500 < request.expires_at - time.time() <= 3600

    @pytest.fixture
    def lasting(
        self, s3: S3Server, tmp_path: Path, credentials: None, monkeypatch: pytest.MonkeyPatch
    ) -> Path:
        """A profile `short` whose credentials come from a program, which prints what this file holds."""
        told = tmp_path / "told.json"
        config = tmp_path / "config"
        program = f"import sys; print(open({str(told)!r}).read())"
        script = tmp_path / "program.py"
        script.write_text(program)
        config.write_text(f"[profile short]\ncredential_process = {sys.executable} {script}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        return told

    def tell(self, s3: S3Server, told: Path, seconds: float) -> None:
        answer = {
            "Version": 1,
            "AccessKeyId": s3.access_key,
            "SecretAccessKey": s3.secret_key,
            "Expiration": (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(),
        }
        told.write_text(json.dumps(answer))

    async def test_never_longer_than_the_credentials_last(
        self, s3: S3Server, bucket: Bucket, lasting: Path
    ) -> None:
        bucket.put("a.bin", b"12345")
        file = (await listed(bucket))["a.bin"]
        self.tell(s3, lasting, 700)
        options = S3Options(s3.endpoint, profile="short", region="us-east-1")
        request, query = await signed(options, file)
        assert 600 < int(query["X-Amz-Expires"]) <= 700
        assert request.expires_at is not None
        assert request.expires_at - time.time() < 700
        assert read_range(request, 0, 5) == b"12345"

    async def test_credentials_are_renewed_when_due(
        self, s3: S3Server, bucket: Bucket, lasting: Path
    ) -> None:
        source = S3Source(Metrics(), S3Options(s3.endpoint, profile="short", region="us-east-1"))
        self.tell(s3, lasting, 60)
        first = await source.open(FILE)
        self.tell(s3, lasting, 7200)
        second = await source.open(FILE)
        await source.close()
        assert "X-Amz-Expires=5" in first.url
        assert "X-Amz-Expires=3600" in second.url

    async def test_credentials_that_come_expired_are_told_so(
        self, s3: S3Server, bucket: Bucket, lasting: Path
    ) -> None:
        self.tell(s3, lasting, -60)
        source = S3Source(Metrics(), S3Options(s3.endpoint, profile="short", region="us-east-1"))
        with pytest.raises(Unauthenticated):
            await source.list(bucket.uri, ALL)
        with pytest.raises(Unauthenticated):
            await source.open(FILE)
        await source.close()
