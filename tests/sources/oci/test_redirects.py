"""Registries that leave blobs to object stores."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from cached.core.errors import Corrupt, Denied, NotFound, SourceUnavailable
from cached.core.registry import NODE, Found, Reader, file_of
from cached.sources.oci import OciRegistry, UpstreamOptions
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, basic
from tests.servers.upstream import Answer, Files
from tests.sources.oci.house import HOST, PASSWORD, USER, House
from tests.transfer.relay import make_certificate, relay

SIGNED = "/bucket/blob?X-Sig=a%2Fb+c&x=%20"


class Store(Files):
    """An object store whose signed URLs are for GET alone, as those of S3 are."""

    def __init__(self, methods: tuple[str, ...] = ("GET",)) -> None:
        super().__init__()
        self.methods = methods
        self.targets: list[str] = []

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.targets.append(target)
        if method not in self.methods:
            return Answer(403, {}, 0, iter(()))
        return super().answer(method, target, headers, body)


@pytest.fixture
def files() -> Store:
    return Store()


@pytest.fixture
def store(files: Store, small: Image) -> Iterator[FaultyServer]:
    files.put("/bucket/blob", small.layers[0].data)
    with FaultyServer(files) as server:
        yield server


def redirect(house: House, location: str, status: int = 307, method: str = "") -> None:
    fault = Fault(path="*/blobs/*", method=method, times=None, status=status, headers={"Location": location})
    house.server.inject(fault)


@pytest.mark.parametrize("methods", [("GET", "HEAD"), ("GET",)])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_the_size_of_a_blob_in_an_object_store(
    house: House, files: Store, store: FaultyServer, methods: tuple[str, ...], status: int
) -> None:
    files.methods = methods
    redirect(house, f"{store.endpoint}{SIGNED}", status)
    assert await house.blob(NODE) == Found(house.layer, house.image.layers[0].size)
    assert set(files.targets) == {SIGNED}, "a signed URL is asked for letter by letter"
    assert store.sent() <= 1


@pytest.mark.parametrize("reader", [NODE, Reader(basic(USER, PASSWORD))])
async def test_an_object_store_is_told_nothing_of_the_reader(
    with_password: House, store: FaultyServer, reader: Reader
) -> None:
    await with_password.tag(reader)
    redirect(with_password, f"{store.endpoint}{SIGNED}")
    await with_password.blob(reader)
    shown = with_password.server.requests("*/blobs/*", "")
    assert all("authorization" in seen.headers for seen in shown)
    for seen in store.requests(method=""):
        assert not {"authorization", "cookie", "proxy-authorization"} & seen.headers.keys()


async def test_the_registry_itself_is_told_again(with_password: House) -> None:
    await with_password.tag(NODE)
    there = f"/v2/a/b/blobs/{with_password.layer}?elsewhere"
    fault = Fault(path="*/blobs/*", method="", times=1, status=307, headers={"Location": there})
    with_password.server.inject(fault)
    await with_password.blob(NODE)
    assert (
        len([s for s in with_password.server.requests("*/blobs/*", "") if "authorization" in s.headers]) == 2
    )


@pytest.mark.parametrize(
    "location",
    [
        "",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "http://u:p@127.0.0.1/x",
        "http://127.0.0.1:x/",
        "http://[",
    ],
)
async def test_where_nobody_should_follow(house: House, location: str) -> None:
    redirect(house, location)
    with pytest.raises(SourceUnavailable, match="not safe to follow"):
        await house.blob(NODE)


async def test_circles_end(house: House) -> None:
    redirect(house, f"/v2/a/b/blobs/{house.layer}")
    with pytest.raises(SourceUnavailable, match="more than 5 redirects"):
        await house.blob(NODE)
    assert len(house.server.requests(method="")) == 6


async def test_an_object_store_that_is_not_there(house: House, store: FaultyServer) -> None:
    redirect(house, "http://127.0.0.1:1/x?s3cr")
    with pytest.raises(SourceUnavailable, match=r"127\.0\.0\.1:1 .*Connect") as raised:
        await house.blob(NODE)
    assert "s3cr" not in str(raised.value)


async def test_what_an_object_store_refuses(house: House, files: Store, store: FaultyServer) -> None:
    """A 401 of its own is no challenge of the registry."""
    redirect(house, f"{store.endpoint}{SIGNED}")
    challenge = {"WWW-Authenticate": f'Bearer realm="{store.endpoint}/token"'}
    store.inject(Fault(method="", times=1, status=401, headers=challenge))
    with pytest.raises(SourceUnavailable, match="the server that it redirects to answered 401"):
        await house.blob(NODE)
    files.remove("/bucket/blob")
    files.methods = ("GET", "HEAD")
    with pytest.raises(NotFound):
        await house.blob(NODE)
    files.methods = ()
    with pytest.raises(Denied, match="the server that it redirects to answered 403"):
        await house.blob(NODE)
    assert store.requests("/token", "") == []


async def test_a_manifest_elsewhere_is_still_the_one_asked_for(
    house: House, store: FaultyServer, files: Store
) -> None:
    files.methods = ("GET", "HEAD")
    digest = house.image.digest
    fault = Fault(path="*/manifests/*", method="", times=None, status=307)
    house.server.inject(replace(fault, headers={"Location": f"{store.endpoint}/bucket/blob"}))
    with pytest.raises(Corrupt):
        await house.source.manifest(house.repository, digest, NODE)


async def test_lists_are_not_fetched_elsewhere(house: House, store: FaultyServer) -> None:
    fault = Fault(path="*/tags/list", times=None, status=307)
    house.server.inject(replace(fault, headers={"Location": f"{store.endpoint}/bucket/blob"}))
    with pytest.raises(SourceUnavailable, match="not safe to follow"):
        await house.source.passed(house.repository, "tags/list", {}, NODE)
    assert store.requests(method="") == []


async def test_an_opened_blob_has_been_looked_for_at_the_registry_alone(
    house: House, store: FaultyServer
) -> None:
    """Whoever reads it follows the redirect himself, with a GET."""
    redirect(house, f"{store.endpoint}{SIGNED}")
    file = file_of(house.repository, Found(house.layer, house.image.layers[0].size))
    request = await house.source.open_blob(house.repository, file, NODE)
    assert request.url == f"{house.server.endpoint}/v2/a/b/blobs/{house.layer}"
    assert store.requests(method="") == []


async def test_an_object_store_is_not_trusted_by_the_registrys_own_ca(
    house: House, files: Store, store: FaultyServer, tmp_path: Path
) -> None:
    pairs = [make_certificate(tmp_path, name, "IP:127.0.0.1") for name in ("registry", "store")]
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in pairs]
    for context, pair in zip(contexts, pairs, strict=True):
        context.load_cert_chain(*pair)
    async with (
        relay(house.server.endpoint, contexts[0]) as front,
        relay(store.endpoint, contexts[1]) as behind,
    ):
        redirect(house, f"https://127.0.0.1:{behind.port}{SIGNED}")
        options = UpstreamOptions(f"https://127.0.0.1:{front.port}", ca_file=pairs[0][0])
        for ca_file in (pairs[1][0], None):
            source = OciRegistry(house.metrics, {HOST: options}, ca_file=ca_file)
            if ca_file:
                assert (await source.blob(house.repository, house.layer, NODE)).digest == house.layer
            else:
                with pytest.raises(SourceUnavailable, match="is not trusted"):
                    await source.blob(house.repository, house.layer, NODE)
            await source.close()


async def test_tls_is_not_given_up_on_the_way(house: House, store: FaultyServer, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, "registry", "IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    redirect(house, f"{store.endpoint}{SIGNED}")
    async with relay(house.server.endpoint, context) as front:
        options = UpstreamOptions(f"https://127.0.0.1:{front.port}", ca_file=certificate)
        source = OciRegistry(house.metrics, {HOST: options})
        with pytest.raises(SourceUnavailable, match="not safe to follow"):
            await source.blob(house.repository, house.layer, NODE)
        await source.close()
    assert store.requests(method="") == []
