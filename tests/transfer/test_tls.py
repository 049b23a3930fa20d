"""Ranges over TLS, and by proxies."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from cached.core.errors import NotConfigured, SourceUnavailable
from cached.core.source import RangeRequest
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.relay import make_certificate, proxy, relay
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(40 * CHUNK + 9)


class Keys:
    """Certificates of servers, and the context to serve each with."""

    def __init__(self, directory: Path) -> None:
        self.good, good_key = make_certificate(directory, "good", "IP:127.0.0.1")
        self.misnamed, misnamed_key = make_certificate(directory, "misnamed", "DNS:elsewhere.example")
        self.other, other_key = make_certificate(directory, "other", "IP:127.0.0.1")
        self.good_context = self._context(self.good, good_key)
        self.other_context = self._context(self.other, other_key)
        self.misnamed_context = self._context(self.misnamed, misnamed_key)
        self.outdated_context = self._context(self.good, good_key)
        self.outdated_context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            self.outdated_context.maximum_version = ssl.TLSVersion.TLSv1_1
        self.outdated_context.set_ciphers("ALL:@SECLEVEL=0")

    def _context(self, certificate: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


async def test_a_server_with_our_own_ca(origin: FaultyServer, files: Files, keys: Keys) -> None:
    etag = files.put("/m.bin", DATA)
    sink = MemorySink(len(DATA))
    async with (
        relay(origin.endpoint, keys.good_context) as front,
        rigged(replace(QUICK, ca_file=keys.good)) as rig,
    ):
        await rig.fetch(sink, RangeRequest(f"https://127.0.0.1:{front.port}/m.bin", etag=etag))
        assert len(rig.transfer._gear.connections._idle) == QUICK.connections, "connections are not kept"
        await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"https://127.0.0.1:{front.port}/m.bin"))
        assert rig.errors() == {}
    assert sink.data == DATA


async def test_faults_are_outlived_under_tls_too(origin: FaultyServer, files: Files, keys: Keys) -> None:
    files.put("/m.bin", DATA)
    origin.inject(Fault(times=2, stall=CHUNK // 2))
    origin.inject(Fault(times=2, cut=CHUNK // 2))
    origin.inject(Fault(times=2, status=503))
    sink = MemorySink(len(DATA))
    async with (
        relay(origin.endpoint, keys.good_context) as front,
        rigged(replace(QUICK, ca_file=keys.good)) as rig,
    ):
        await rig.fetch(sink, RangeRequest(f"https://127.0.0.1:{front.port}/m.bin"))
        assert sum(rig.errors().values()) == 6
    assert sink.data == DATA


async def test_a_cancel_ends_a_stalled_body_under_tls(origin: FaultyServer, files: Files, keys: Keys) -> None:
    files.put("/m.bin", DATA)
    origin.inject(Fault(times=None, stall=CHUNK // 2))
    options = replace(QUICK, ca_file=keys.good, stall_timeout=60.0)
    async with relay(origin.endpoint, keys.good_context) as front, rigged(options) as rig:
        url = f"https://127.0.0.1:{front.port}/m.bin"
        task = asyncio.create_task(rig.fetch(MemorySink(len(DATA)), RangeRequest(url)))
        await asyncio.sleep(0.3)
        task.cancel()
        await asyncio.wait({task}, timeout=1.0)
        assert task.cancelled()


async def test_a_ca_of_its_own_is_trusted_at_that_server_alone(
    origin: FaultyServer, files: Files, keys: Keys
) -> None:
    files.put("/m.bin", DATA)
    async with (
        relay(origin.endpoint, keys.good_context) as front,
        relay(origin.endpoint, keys.other_context) as its_own,
        relay(origin.endpoint, keys.other_context) as beside,
        rigged(replace(QUICK, ca_file=keys.good, ca_files={f"127.0.0.1:{its_own.port}": keys.other})) as rig,
    ):
        for port in (front.port, its_own.port):
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"https://127.0.0.1:{port}/m.bin"))
        with pytest.raises(SourceUnavailable, match="not trusted"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"https://127.0.0.1:{beside.port}/m.bin"))


async def test_a_server_with_a_ca_of_its_own_may_redirect_to_one_without(
    origin: FaultyServer, files: Files, keys: Keys
) -> None:
    files.put("/m.bin", DATA)
    sink = MemorySink(len(DATA))
    async with (
        relay(origin.endpoint, keys.good_context) as store,
        relay(origin.endpoint, keys.other_context) as front,
    ):
        location = f"https://127.0.0.1:{store.port}/m.bin"
        origin.inject(Fault(path="/blob", times=None, status=307, headers={"Location": location}))
        options = replace(QUICK, ca_file=keys.good, ca_files={f"127.0.0.1:{front.port}": keys.other})
        async with rigged(options) as rig:
            await rig.fetch(sink, RangeRequest(f"https://127.0.0.1:{front.port}/blob"))
    assert sink.data == DATA


async def test_a_stranger_is_not_trusted_and_not_asked_twice(origin: FaultyServer, keys: Keys) -> None:
    async with relay(origin.endpoint, keys.good_context) as front, rigged() as rig:
        with pytest.raises(SourceUnavailable, match="not trusted: self-signed certificate") as raised:
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"https://127.0.0.1:{front.port}/m.bin?secret"))
    assert "ca_file" in raised.value.hint
    assert "secret" not in str(raised.value)
    assert origin.requests() == []


async def test_a_certificate_for_somebody_else_is_not_trusted(origin: FaultyServer, keys: Keys) -> None:
    options = replace(QUICK, ca_file=keys.misnamed)
    async with relay(origin.endpoint, keys.misnamed_context) as front, rigged(options) as rig:
        with pytest.raises(SourceUnavailable, match=r"not trusted: IP address mismatch"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"https://127.0.0.1:{front.port}/m.bin"))


async def test_outdated_tls_is_not_spoken(origin: FaultyServer, keys: Keys) -> None:
    options = replace(QUICK, ca_file=keys.good, give_up_after=0.5)
    async with relay(origin.endpoint, keys.outdated_context) as front, rigged(options) as rig:
        with pytest.raises(SourceUnavailable, match="cannot connect"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest(f"https://127.0.0.1:{front.port}/m.bin"))
    assert origin.requests() == []


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_a_ca_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    async with rigged(replace(QUICK, ca_file=path)) as rig:
        with pytest.raises(NotConfigured, match=r"ca\.pem"):
            await rig.fetch(MemorySink(CHUNK), RangeRequest("https://127.0.0.1:1/m.bin"))


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


async def test_a_tls_server_is_reached_through_a_tunnel(
    origin: FaultyServer, files: Files, keys: Keys, environment: pytest.MonkeyPatch
) -> None:
    files.put("/m.bin", DATA)
    sink = MemorySink(len(DATA))
    async with relay(origin.endpoint, keys.good_context) as front, proxy() as between:
        environment.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{between.port}")
        async with rigged(replace(QUICK, ca_file=keys.good)) as rig:
            url = f"https://127.0.0.1:{front.port}/m.bin"
            await rig.fetch(sink, RangeRequest(url, {"Authorization": "Bearer secret"}))
    assert sink.data == DATA
    assert 1 <= len(between.heads) <= QUICK.connections
    for head in between.heads:
        assert head.startswith(f"CONNECT 127.0.0.1:{front.port} ")
        assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in head
        assert "secret" not in head
    assert not any("proxy-authorization" in seen.headers for seen in origin.requests())


async def test_a_plaintext_server_is_asked_by_the_proxy(
    origin: FaultyServer, files: Files, environment: pytest.MonkeyPatch
) -> None:
    files.put("/m.bin", DATA)
    sink = MemorySink(len(DATA))
    async with proxy() as between:
        environment.setenv("http_proxy", f"127.0.0.1:{between.port}")
        async with rigged() as rig:
            await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
    assert sink.data == DATA
    assert between.heads[0].startswith(f"GET {origin.endpoint}/m.bin HTTP/1.1")


async def test_no_proxy_means_none(
    origin: FaultyServer, files: Files, environment: pytest.MonkeyPatch
) -> None:
    files.put("/m.bin", DATA)
    async with proxy() as between:
        environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{between.port}")
        environment.setenv("NO_PROXY", "127.0.0.1")
        async with rigged() as rig:
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"))
    assert between.heads == []


async def test_a_proxy_that_refuses_is_named(environment: pytest.MonkeyPatch) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    environment.setenv("HTTPS_PROXY", f"http://user:pass@127.0.0.1:{port}")
    async with server, rigged(replace(QUICK, give_up_after=0.5)) as rig:
        with pytest.raises(SourceUnavailable, match=rf"by the proxy 127\.0\.0\.1:{port}: .*407") as raised:
            await rig.fetch(MemorySink(CHUNK), RangeRequest("https://h.example/m.bin"))
    assert "pass" not in str(raised.value)
