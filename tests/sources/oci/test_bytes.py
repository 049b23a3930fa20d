"""Whole blobs from a registry, as the transfer reads them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.core.errors import CachedError, Denied, NotFound, Unauthenticated
from cached.core.registry import NODE, Found, Reader, file_of
from cached.core.source import RangeRequest, SourceFile
from cached.sources.oci import OciRegistry, UpstreamOptions
from cached.transfer.transfer import Transfer, TransferOptions
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image, basic, push
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.tokens import TokenService
from tests.servers.upstream import Files
from tests.sources.oci.conftest import SHUT
from tests.sources.oci.house import HOST, PASSWORD, USER, House
from tests.transfer.relay import make_certificate
from tests.transfer.rig import QUICK, MemorySink

CHUNK = 1 << 13
"""Bytes; so that the layer of these tests has thirteen."""


class Reading:
    """One file of `house`, and the means to read it."""

    def __init__(
        self, house: House, transfer: Transfer, reader: Reader, source: OciRegistry | None = None
    ) -> None:
        self._house = house
        self._transfer = transfer
        self._reader = reader
        self._source = source or house.source
        self.opened: list[RangeRequest] = []

    async def blob(self) -> MemorySink:
        return await self.file(Found(self._house.layer, self._house.image.layers[0].size))

    async def file(self, found: Found) -> MemorySink:
        """Fill a sink with it; asserts that the bytes are those of its name."""
        file = file_of(self._house.repository, found)
        sink = MemorySink(file.size, CHUNK)
        await self._transfer.fetch(
            sink, lambda: self._open(file), origin="oci", label=file.uri, on_bytes=lambda count: None
        )
        assert f"sha256:{sha256(sink.data).hexdigest()}" == file.blob
        return sink

    async def _open(self, file: SourceFile) -> RangeRequest:
        request = await self._source.open_blob(self._house.repository, file, self._reader)
        self.opened.append(request)
        return request


@asynccontextmanager
async def reading(
    house: House, reader: Reader = NODE, options: TransferOptions = QUICK, source: OciRegistry | None = None
) -> AsyncIterator[Reading]:
    transfer = Transfer(options, house.metrics, house.clock, random.Random(1))
    try:
        yield Reading(house, transfer, reader, source)
    finally:
        await transfer.close()


async def test_a_blob_by_ranges(house: House) -> None:
    async with reading(house) as at:
        await at.blob()
    gets = house.server.requests("*/blobs/*")
    assert sorted(seen.span for seen in gets if seen.span)[:2] == [(0, CHUNK - 1), (CHUNK, 2 * CHUNK - 1)]
    assert {seen.status for seen in gets} == {206}
    assert house.server.sent() == house.image.layers[0].size


async def test_a_blob_as_a_whole_where_there_are_no_ranges(house: House) -> None:
    house.server.inject(Fault(path="*/blobs/*", times=None, forget=frozenset({"range"})))
    async with reading(house) as at:
        await at.blob()


async def test_a_manifest(house: House) -> None:
    async with reading(house) as at:
        await at.file(await house.tag(NODE))
    (get,) = house.server.requests()
    for kind in ("oci.image.index.v1", "oci.image.manifest.v1", "manifest.list.v2", "manifest.v2"):
        assert kind in get.headers["accept"]


async def test_a_blob_for_a_password(with_password: House) -> None:
    for reader in (NODE, Reader(basic(USER, PASSWORD))):
        async with reading(with_password, reader) as at:
            await at.blob()
        assert [request.expires_at for request in at.opened] == [None]


async def test_a_blob_for_a_token(with_tokens: House, tokens: TokenService) -> None:
    async with reading(with_tokens) as at:
        await at.blob()
    (opened,) = at.opened
    assert opened.expires_at == pytest.approx(with_tokens.clock.now() + 300, abs=20)
    assert len(tokens.calls) == 1


async def test_a_token_that_runs_out_on_the_way_is_renewed(with_tokens: House, tokens: TokenService) -> None:
    """By our own clock: the registry still takes the old one for a minute."""
    tokens.expires_in = 300
    async with reading(with_tokens, options=replace(QUICK, connections=1)) as at:
        with_tokens.server.inject(Fault(path="*/blobs/*", skip=4, before=lambda: with_tokens.clock.turn(280)))
        await at.blob()
    assert len(at.opened) == 2
    assert at.opened[0].headers != at.opened[1].headers
    assert len(tokens.calls) == 2


async def test_a_token_that_is_refused_on_the_way_is_replaced(
    with_tokens: House, tokens: TokenService
) -> None:
    """By the registry's clock: it answers 401, and no more."""
    challenge = f'Bearer realm="{tokens.realm}",service="{tokens.service}",scope="repository:{SHUT}:pull"'
    async with reading(with_tokens, options=replace(QUICK, connections=1)) as at:
        with_tokens.server.inject(Fault(path="*/blobs/*", skip=4, status=401))
        with_tokens.server.inject(
            Fault(
                path="*/blobs/*", method="HEAD", skip=2, status=401, headers={"WWW-Authenticate": challenge}
            )
        )
        await at.blob()
        assert len(at.opened) == 2
        assert at.opened[0].headers != at.opened[1].headers
    assert len(tokens.calls) == 2


async def test_who_is_refused_for_good_is_denied(with_password: House) -> None:
    with_password.server.inject(Fault(path="*/blobs/*", times=None, status=401))
    async with reading(with_password) as at:
        with pytest.raises(Denied, match="answered 401"):
            await at.blob()
        assert len(at.opened) == 2


async def test_a_puller_whose_token_runs_out_is_challenged(with_tokens: House, tokens: TokenService) -> None:
    reader = Reader(f"Bearer {tokens.token(USER, f'repository:{SHUT}:pull')}")
    realm = f'Bearer realm="{tokens.realm}",service="{tokens.service}"'
    async with reading(with_tokens, reader, replace(QUICK, connections=1)) as at:
        fault = Fault(path="*/blobs/*", method="", skip=5, times=None, status=401)
        with_tokens.server.inject(replace(fault, headers={"WWW-Authenticate": realm}))
        with pytest.raises(Unauthenticated) as raised:
            await at.blob()
    assert raised.value.challenge == realm
    assert tokens.calls == []


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (403, Denied)])
async def test_what_goes_wrong_on_the_way_is_told(
    house: House, status: int, error: type[CachedError]
) -> None:
    house.server.inject(Fault(path="*/blobs/*", skip=3, times=None, status=status))
    async with reading(house) as at:
        with pytest.raises(error, match=f"oci://registry.test/a/b/blobs/{house.layer}"):
            await at.blob()


async def test_a_registry_that_throttles_is_waited_for(house: House) -> None:
    house.server.inject(Fault(path="*/blobs/*", skip=3, status=429, headers={"Retry-After": "1"}))
    async with reading(house) as at:
        await at.blob()
    assert house.errors() == {"throttled": 1}


async def test_a_blob_from_an_object_store_is_read_without_what_proves_the_reader(
    with_password: House, files: Files, origin: FaultyServer, small: Image
) -> None:
    files.put("/bucket/blob", small.layers[0].data)
    location = f"{origin.endpoint}/bucket/blob?X-Sig=a%2Fb"
    with_password.server.inject(
        Fault(path="*/blobs/*", method="", times=None, status=307, headers={"Location": location})
    )
    async with reading(with_password) as at:
        with pytest.raises(Unauthenticated):  # the fault answers before anybody is asked who he is
            await with_password.tag(Reader("Basic wr0ng"))
        await with_password.tag(NODE)
        await at.blob()
    assert all("authorization" not in seen.headers for seen in origin.requests(method=""))
    assert all("authorization" in seen.headers for seen in with_password.server.requests("*/blobs/*"))
    assert origin.sent() == small.layers[0].size


async def test_a_blob_in_tls_by_a_ca_of_the_registrys_own(tmp_path: Path, house: House, small: Image) -> None:
    if DOCKER_REGISTRY is None:
        pytest.skip("docker-registry is not installed: make packages")
    certificate, key = make_certificate(tmp_path, "registry", "IP:127.0.0.1")
    with DockerRegistry(tmp_path / "r", certificate=(certificate, key)) as registry:
        push(registry.endpoint, "a/b", "v1", small, ca_file=certificate)
        options = {HOST: UpstreamOptions(registry.endpoint, ca_file=certificate)}
        source = OciRegistry(house.metrics, options)
        async with reading(house, options=replace(QUICK, ca_files=source.ca_files), source=source) as at:
            await at.blob()
        await source.close()


async def test_a_file_of_no_registry_is_refused(house: House) -> None:
    for uri in ("s3://b/k", "oci://registry.test/a/b/tags/list", "oci://registry.test/a/b/blobs/sha256:0"):
        file = SourceFile("x", 1, uri, "pin", Digest.sha256(b""))
        with pytest.raises(CachedError, match="neither a manifest nor a blob"):
            await house.source.open_blob(house.repository, file, NODE)
