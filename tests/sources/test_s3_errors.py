"""What goes wrong with S3, and what is said then: the class, the URI, a hint, and no secret."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cached.core.errors import (
    CachedError,
    Denied,
    InvalidRequest,
    NotConfigured,
    NotFound,
    SourceUnavailable,
    Unauthenticated,
)
from cached.core.source import Selection
from cached.core.tree import Tree, TreeFile
from cached.sources.s3 import S3Options, S3Source, clients
from cached.sources.s3.errors import translated
from cached.sources.s3.uri import S3Uri
from cached.telemetry.metrics import Metrics
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.ports import free_ports
from tests.servers.s3 import S3Server
from tests.sources import canned
from tests.sources.bucket import Bucket
from tests.sources.canned import Canned
from tests.sources.contract import count_errors, listed

SECRET = "a-secret-that-nobody-may-see"
TOKEN = "a-token-that-nobody-may-see"
BOTO = ("boto3", "botocore", "urllib3")


@pytest.fixture(autouse=True)
def no_secret_is_told(
    s3: S3Server, credentials: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """Whatever a test raises or logs, at any level, holds neither keys nor signatures.

    But for what boto3 says of the test's own uploads: the source has threads of its own.
    """
    caplog.set_level(logging.DEBUG)
    for name in BOTO:
        logging.getLogger(name).setLevel(logging.NOTSET)
    raised: list[CachedError] = []
    init = CachedError.__init__

    def noting(self: CachedError, message: str, *, hint: str = "") -> None:
        init(self, message, hint=hint)
        raised.append(self)

    monkeypatch.setattr(CachedError, "__init__", noting)
    yield
    told = [
        record.getMessage()
        for record in caplog.get_records("call")
        if not record.name.startswith(BOTO) or str(record.threadName).startswith("cached-s3")
    ]
    for error in raised:
        told += [*traceback.format_exception(error), repr(error), repr(vars(error))]
    for secret in (s3.secret_key, SECRET, TOKEN, "Signature:", "Signature=", "AWS4-HMAC"):
        assert not [text for text in told if secret in text]


async def test_a_wrong_secret_is_unauthenticated(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(Unauthenticated, match="secret access key") as caught:
        await listed(bucket)
    assert bucket.uri in caught.value.message
    assert count_errors(bucket, "Unauthenticated") == 1


async def test_an_unknown_key_is_unauthenticated(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    with pytest.raises(Unauthenticated, match="access key id"):
        await listed(bucket)


async def test_no_credentials_at_all_is_unauthenticated(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Unauthenticated, match="profile or a role"):
        await listed(bucket)


async def test_who_signs_nothing_is_denied(bucket: Bucket) -> None:
    bucket.put("a.bin", b"1")
    source = S3Source(Metrics(), S3Options(endpoint=bucket.server.endpoint, anonymous=True))
    with pytest.raises(Denied):
        await source.list(bucket.uri, Selection())
    await source.close()


async def test_a_profile_that_is_not_there_is_not_configured(bucket: Bucket) -> None:
    source = S3Source(Metrics(), S3Options(endpoint=bucket.server.endpoint, profile="absent"))
    with pytest.raises(NotConfigured, match="AWS configuration files"):
        await source.list(bucket.uri, Selection())
    await source.close()


@pytest.mark.parametrize("endpoint", ["no scheme", "http://", "http://bad host:1", "ftp://host"])
async def test_an_endpoint_that_is_none_is_not_configured(endpoint: str) -> None:
    source = S3Source(Metrics(), S3Options(endpoint=endpoint))
    with pytest.raises(NotConfigured):
        await source.list("s3://bucket/model", Selection())
    await source.close()


async def test_a_missing_bucket_is_not_found(bucket: Bucket) -> None:
    for uri in ("s3://no-such-bucket", "s3://no-such-bucket/model"):
        with pytest.raises(NotFound, match="no bucket no-such-bucket"):
            await bucket.source.list(uri, Selection())
    assert count_errors(bucket, "NotFound") == 2


@pytest.mark.parametrize(
    "uri", ["s3://", "s3:///key", "s3://b ucket/key", "s3://-b/k", "s3://../x", "S3://b/k"]
)
async def test_a_uri_without_a_bucket_is_refused(bucket: Bucket, uri: str) -> None:
    with pytest.raises(InvalidRequest):
        await bucket.source.list(uri, Selection())


async def test_a_key_that_no_object_can_have_is_refused(bucket: Bucket) -> None:
    for key in ("x" * 1025, "\ud800"):
        with pytest.raises(InvalidRequest):
            await bucket.source.list(f"s3://{bucket.name}/{key}", Selection())


async def test_a_server_that_is_not_there_is_unavailable(bucket: Bucket) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    source = S3Source(Metrics(), S3Options(endpoint=endpoint))
    with pytest.raises(SourceUnavailable, match=endpoint) as caught:
        await source.list(bucket.uri, Selection())
    assert caught.value.retryable
    await source.close()


@pytest.mark.parametrize(
    "fault",
    [Fault(times=None, status=503), Fault(times=None, status=500), Fault(times=None, hang_up=True)],
    ids=["503", "500", "hang up"],
)
async def test_a_server_in_trouble_is_unavailable(
    faulty: Bucket, faulty_s3: FaultyServer, fault: Fault
) -> None:
    faulty_s3.inject(fault)
    with pytest.raises(SourceUnavailable):
        await listed(faulty)
    assert len(faulty_s3.requests()) == 3
    assert count_errors(faulty, "SourceUnavailable") == 1


async def test_a_server_that_stalls_is_unavailable(
    faulty: Bucket, faulty_s3: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_READ_SECONDS", 0.1)
    faulty_s3.inject(Fault(times=None, stall=0))
    with pytest.raises(SourceUnavailable, match="Timeout"):
        await listed(faulty)


async def test_short_trouble_is_not_told(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    faulty.put("a.bin", b"1")
    faulty_s3.inject(Fault(status=503))
    faulty_s3.inject(Fault(method="HEAD", hang_up=True))
    assert list(await listed(faulty)) == ["a.bin"]


async def test_an_object_that_may_be_listed_but_not_read_is_denied(
    faulty: Bucket, faulty_s3: FaultyServer
) -> None:
    faulty.put_many(["a.bin", "b.bin"], b"1")
    faulty_s3.inject(Fault(method="HEAD", path="*/b.bin", times=None, status=403))
    with pytest.raises(Denied, match="s3:GetObject") as caught:
        await listed(faulty)
    assert f"{faulty.uri}/b.bin" in caught.value.message


async def test_the_first_failure_ends_the_looking(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    faulty.put_many([f"{number}.bin" for number in range(100)], b"1")
    faulty_s3.inject(Fault(method="HEAD", times=None, status=403))
    with pytest.raises(Denied):
        await listed(faulty)
    assert len(faulty_s3.requests(method="HEAD")) <= 32


async def test_a_caller_who_leaves_ends_the_looking(faulty: Bucket, faulty_s3: FaultyServer) -> None:
    faulty.put_many([f"{number}.bin" for number in range(100)], b"1")
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()
    faulty_s3.inject(Fault(method="HEAD", times=None, before=lambda: loop.call_soon_threadsafe(begun.set)))
    looking = asyncio.create_task(listed(faulty))
    await begun.wait()
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await asyncio.sleep(0.2)
    assert len(faulty_s3.requests(method="HEAD")) < 60


async def from_canned(upstream: Canned, uri: str = "s3://bucket/m") -> list[Any]:
    with FaultyServer(upstream) as server:
        source = S3Source(Metrics(), S3Options(endpoint=server.endpoint, addressing="path"))
        try:
            return [await source.list(uri, Selection()), server.requests(method="HEAD")]
        finally:
            await source.close()


HOSTILE = ["../../etc/passwd", "/etc/passwd", "a//b", "a/./b", "nul\0", "x" * 300, "back\\slash", "tab\t"]


async def test_hostile_keys_are_told_unchanged_and_never_asked_for() -> None:
    files, heads = await from_canned(Canned(canned.listing([f"m/{key}" for key in [*HOSTILE, "good"]])))
    assert sorted(file.path for file in files) == sorted([*HOSTILE, "good"])
    assert [seen.path for seen in heads] == ["/bucket/m/good"]
    for file in files:
        if file.path != "good":
            with pytest.raises(InvalidRequest):
                Tree.of([TreeFile(file.path, file.size, file.blob)])


@pytest.mark.parametrize(
    "body",
    [
        canned.listing(["m/nul\0"], raw=True),
        b"<html>Please log in</html>",
        b"",
        canned.listing(["m/a"], size=-1),
        canned.listing(["other/a"]),
        b"\xff\xfe",
    ],
    ids=["nul", "html", "nothing", "negative", "elsewhere", "bytes"],
)
async def test_a_listing_that_is_none_is_told_so(body: bytes) -> None:
    with pytest.raises(SourceUnavailable):
        await from_canned(Canned(body))


async def test_an_object_that_nothing_pins_is_not_taken() -> None:
    with pytest.raises(SourceUnavailable, match="no ETag"):
        await from_canned(Canned(canned.listing(["m/a"]), head={}))


@pytest.mark.parametrize(
    ("status", "code", "kind", "hint"),
    [
        (400, "ExpiredToken", Unauthenticated, "renew"),
        (400, "InvalidToken", Unauthenticated, "session token"),
        (403, "RequestTimeTooSkewed", Unauthenticated, "clock"),
        (403, "AccessDenied", Denied, "s3:ListBucket"),
        (403, "InvalidObjectState", Denied, ""),
        (418, "Unheard-of", Denied, ""),
        (400, "InvalidArgument", InvalidRequest, ""),
        (503, "SlowDown", SourceUnavailable, "later"),
        (429, "TooManyRequests", SourceUnavailable, "later"),
        (400, "AuthorizationHeaderMalformed", NotConfigured, "region"),
        (301, "PermanentRedirect", NotConfigured, "region"),
    ],
)
async def test_each_refusal_has_its_class(
    status: int, code: str, kind: type[CachedError], hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "_ATTEMPTS", 1)
    with pytest.raises(kind, match=r"s3://bucket/m|bucket bucket") as caught:
        await from_canned(Canned(canned.error(code, Message=TOKEN), status=status))
    assert hint in caught.value.hint
    assert code in caught.value.message


def test_what_the_token_service_refuses_is_about_credentials() -> None:
    with pytest.raises(Unauthenticated, match="role"), translated(S3Uri("bucket"), S3Options()):
        raise ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRoleWithWebIdentity")


def test_bugs_pass_as_they_are() -> None:
    with pytest.raises(ZeroDivisionError), translated(S3Uri("bucket"), S3Options()):
        raise ZeroDivisionError


async def test_a_probe_sees_what_may_be_listed_and_not_read(
    bucket: Bucket, faulty_s3: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.bin", b"1")
    proxied = Bucket(bucket.server, bucket.name, faulty_s3.endpoint)
    faulty_s3.inject(Fault(path=f"*{bucket.prefix}/a.bin", method="HEAD", status=403))
    with pytest.raises(Denied, match=r"a\.bin"):
        await proxied.source.probe(bucket.uri)
    await proxied.source.probe(bucket.uri)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with pytest.raises(Unauthenticated, match="SignatureDoesNotMatch"):
        await Bucket(bucket.server, bucket.name).source.probe(bucket.uri)
