"""Registries in TLS, and by proxies."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cached.core.errors import NotConfigured, SourceUnavailable
from cached.core.image import Repository
from cached.core.registry import NODE
from cached.sources.oci import OciRegistry, UpstreamOptions
from cached.telemetry.metrics import Metrics
from tests.servers.images import Image, push
from tests.servers.registry import DOCKER_REGISTRY, DockerRegistry
from tests.servers.tokens import TokenService
from tests.sources.oci.house import HOST, PASSWORD, USER, House, docker_config
from tests.transfer.relay import make_certificate, proxy

pytestmark = pytest.mark.skipif(
    DOCKER_REGISTRY is None, reason="docker-registry is not installed: make packages"
)

REPOSITORY = Repository.of(HOST, "a/b")


@asynccontextmanager
async def reading(
    options: UpstreamOptions, *credentials: Path, ca_file: Path | None = None
) -> AsyncIterator[OciRegistry]:
    source = OciRegistry(Metrics(), {HOST: options}, credentials, ca_file=ca_file)
    try:
        yield source
    finally:
        await source.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    return make_certificate(tmp_path, "registry", "IP:127.0.0.1")


async def test_a_registry_and_its_token_service_with_a_ca_of_their_own(
    tmp_path: Path, certificate: tuple[Path, Path], small: Image
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with (
        TokenService({USER: PASSWORD}, tls=context) as tokens,
        DockerRegistry(tmp_path / "r", tokens=tokens, certificate=certificate) as registry,
    ):
        token = tokens.token(USER, "repository:a/b:pull,push")
        push(registry.endpoint, "a/b", "v1", small, authorization=f"Bearer {token}", ca_file=certificate[0])
        options = UpstreamOptions(registry.endpoint, ca_file=certificate[0])
        async with reading(options, docker_config(tmp_path)) as source:
            assert (await source.manifest(REPOSITORY, "v1", NODE)).digest == small.digest
            assert source.ca_files == {registry.host: certificate[0]}
        async with reading(
            UpstreamOptions(registry.endpoint), docker_config(tmp_path), ca_file=certificate[0]
        ) as source:
            assert (await source.manifest(REPOSITORY, "v1", NODE)).digest == small.digest
            assert source.ca_files == {}


async def test_a_stranger_is_not_trusted(
    tmp_path: Path, certificate: tuple[Path, Path], small: Image
) -> None:
    other, _ = make_certificate(tmp_path, "other", "IP:127.0.0.1")
    with DockerRegistry(tmp_path / "r", certificate=certificate) as registry:
        push(registry.endpoint, "a/b", "v1", small, ca_file=certificate[0])
        for options, ca_file in (
            (UpstreamOptions(registry.endpoint), None),
            (UpstreamOptions(registry.endpoint, ca_file=other), None),
            (UpstreamOptions(registry.endpoint, ca_file=other), certificate[0]),
        ):
            async with reading(options, ca_file=ca_file) as source:
                with pytest.raises(
                    SourceUnavailable, match=r"is not trusted for manifest .*self-signed"
                ) as raised:
                    await source.manifest(REPOSITORY, "v1", NODE)
                assert "ca_file" in raised.value.hint


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with reading(UpstreamOptions("https://127.0.0.1:1", ca_file=path)) as source:
        with pytest.raises(NotConfigured, match=r"ca\.pem"):
            await source.manifest(REPOSITORY, "v1", NODE)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def test_a_registry_in_tls_is_reached_through_a_tunnel(
    tmp_path: Path, certificate: tuple[Path, Path], small: Image, environment: pytest.MonkeyPatch
) -> None:
    with DockerRegistry(tmp_path / "r", certificate=certificate) as registry:
        push(registry.endpoint, "a/b", "v1", small, ca_file=certificate[0])
        async with proxy() as between:
            environment.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{between.port}")
            async with reading(UpstreamOptions(registry.endpoint, ca_file=certificate[0])) as source:
                assert (await source.manifest(REPOSITORY, "v1", NODE)).digest == small.digest
    (head,) = between.heads
    assert head.startswith(f"CONNECT {registry.host} ")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in head


async def test_a_registry_in_plaintext_is_asked_by_the_proxy(
    house: House, environment: pytest.MonkeyPatch
) -> None:
    async with proxy() as between:
        environment.setenv("http_proxy", f"http://user:pass@127.0.0.1:{between.port}")
        source = house.another()
        assert (await source.manifest(house.repository, "v1", NODE)).digest == house.image.digest
        await source.close()
        environment.setenv("no_proxy", "127.0.0.1")
        assert (await house.another().manifest(house.repository, "v1", NODE)).digest == house.image.digest
    (head,) = between.heads
    assert head.startswith(f"HEAD {house.server.endpoint}/v2/a/b/manifests/v1 HTTP/1.1")
    assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in head


async def test_a_proxy_that_cannot_be_used(house: House, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "https://user:pass@127.0.0.1:1")
    with pytest.raises(NotConfigured, match="HTTP_PROXY") as raised:
        await house.another().manifest(house.repository, "v1", NODE)
    environment.setenv("HTTP_PROXY", "http://user:pass@127.0.0.1:1")
    with pytest.raises(SourceUnavailable, match="no good answer") as refused:
        await house.another().manifest(house.repository, "v1", NODE)
    assert "pass" not in f"{raised.value} {refused.value}"


async def test_passwords_of_netrc_are_shown_to_nobody(
    house: House, environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password s3cr\ndefault login x password y\n")
    (tmp_path / "netrc").chmod(0o600)
    environment.setenv("NETRC", str(tmp_path / "netrc"))
    await house.another().manifest(house.repository, "v1", NODE)
    assert all("authorization" not in seen.headers for seen in house.server.requests(method=""))
