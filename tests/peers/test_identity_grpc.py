"""Handshakes of gRPC's own TLS, on the asyncio server and channels that nodes use."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from cached.cli.authority import Authority
from cached.peers.identity import Identity
from tests.peers.ca import HOST, identity_of, issue, make_ca, replace
from tests.peers.handshake import ancient

ECHO = "/test.Echo/Echo"


@pytest.fixture
def ca(tmp_path: Path) -> Authority:
    return make_ca(tmp_path)


@asynccontextmanager
async def serving(identity: Identity, host: str = HOST) -> AsyncIterator[str]:
    """A server that answers each message with the names in its sender's certificate; gives its address."""

    async def echo(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for _ in messages:
            yield b",".join(context.auth_context()["x509_subject_alternative_name"])

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {"Echo": handler}),))
    port = server.add_secure_port(f"{host}:0", identity.server_credentials())
    await server.start()
    try:
        yield f"{host}:{port}"
    finally:
        await server.stop(None)


@asynccontextmanager
async def stream(address: str, credentials: grpc.ChannelCredentials, name: str = "") -> AsyncIterator[Any]:
    """An open stream over a connection of its own to a server that is known by `name`, or by its address."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    channel: Any = grpc.aio.secure_channel(address, credentials, options)
    async with channel:
        yield channel.stream_stream(ECHO)()


async def asked(call: Any) -> list[str]:
    """The names that the server sees in our certificate."""
    async with asyncio.timeout(10):
        await call.write(b"")
        answer: bytes | Any = await call.read()
    if not isinstance(answer, bytes):
        raise AssertionError("the stream ended")
    return answer.decode().split(",")


async def refused(address: str, credentials: grpc.ChannelCredentials, name: str = "") -> str:
    """What a client is told that cannot connect."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async with stream(address, credentials, name) as call:
            await asked(call)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
    return str(caught.value.details())


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_two_nodes_meet_and_the_server_sees_who_calls(tmp_path: Path, ca: Authority, host: str) -> None:
    here = identity_of(issue(ca, tmp_path, host.strip("[]")), host=host)
    there = identity_of(issue(ca, tmp_path, "fd00::2"), host="fd00::2")
    async with serving(here, host) as address, stream(address, there.channel_credentials()) as call:
        names = await asked(call)
    assert here.vouches(names, "[FD00:0::2]")
    assert not here.vouches(names, host)


async def test_with_a_common_name_the_address_does_not_matter(tmp_path: Path, ca: Authority) -> None:
    here = identity_of(issue(ca, tmp_path, "10.1.1.1", name="nodes"), name="nodes")
    name = here.server_name("127.0.0.1")
    async with serving(here) as address, stream(address, here.channel_credentials(), name) as call:
        assert here.vouches(await asked(call), "10.2.2.2")


async def test_strangers_are_turned_away(tmp_path: Path, ca: Authority) -> None:
    here = identity_of(issue(ca, tmp_path))
    trusted = (tmp_path / "ca.crt").read_bytes()
    foreign = issue(make_ca(tmp_path / "else"), tmp_path / "else").read()
    expired = issue(ca, tmp_path, expired=True).read()
    async with serving(here) as address:
        for credentials in (
            grpc.ssl_channel_credentials(trusted),
            grpc.ssl_channel_credentials(trusted, foreign.key, foreign.cert),
            grpc.ssl_channel_credentials(trusted, expired.key, expired.cert),
        ):
            await refused(address, credentials)
        async with stream(address, here.channel_credentials()) as call:
            assert await asked(call) == [HOST]


async def test_a_server_of_another_ca_or_another_name_is_left(tmp_path: Path, ca: Authority) -> None:
    here = identity_of(issue(ca, tmp_path))
    foreign = identity_of(issue(make_ca(tmp_path / "else"), tmp_path / "else"))
    elsewhere = identity_of(issue(ca, tmp_path, "10.0.0.2"), host="10.0.0.2")
    async with serving(foreign) as address:
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(address, here.channel_credentials())
    async with serving(elsewhere) as address:
        assert "Hostname Verification" in await refused(address, here.channel_credentials())
        assert "Hostname Verification" in await refused(address, here.channel_credentials(), "10.0.0.3")


async def test_rotation_counts_for_new_connections_and_open_streams_go_on(
    tmp_path: Path, ca: Authority
) -> None:
    """CA and certificates are replaced at once: the old ones open no connection any more."""
    identity = identity_of(issue(ca, tmp_path, name="one"))
    old = identity.channel_credentials()
    async with serving(identity) as address, stream(address, old) as before:
        assert await asked(before) == [HOST, "one"]
        issue(make_ca(tmp_path), tmp_path, name="two")
        assert identity._refresh() == ""
        assert "CERTIFICATE_VERIFY_FAILED" in await refused(address, old)
        async with stream(address, identity.channel_credentials()) as after:
            assert await asked(after) == [HOST, "two"]
            assert await asked(before) == [HOST, "one"]


async def test_broken_files_close_no_door(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    async with serving(identity) as address:
        replace(files.cert, b"half")
        assert "no certificate" in identity._refresh()
        async with stream(address, identity.channel_credentials()) as call:
            assert await asked(call) == [HOST]


async def test_tls_before_1_2_is_refused(tmp_path: Path, ca: Authority) -> None:
    files = issue(ca, tmp_path)

    async def greeted(address: str, version: ssl.TLSVersion) -> bytes:
        """What a server says first to a client of that version."""
        client = ancient(ssl.PROTOCOL_TLS_CLIENT, version)
        client.load_cert_chain(files.cert, files.key)
        client.set_alpn_protocols(["h2"])
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), ssl=client)
        try:
            return await reader.read(1)
        finally:
            writer.close()

    async with serving(identity_of(files)) as address:
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            with pytest.raises(OSError):  # noqa: PT011  # which one depends on how soon it hangs up
                await greeted(address, version)
        assert await greeted(address, ssl.TLSVersion.TLSv1_2)


async def test_grpc_is_given_each_certificate_once(
    ca: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given one at each handshake, it frees what another handshake uses, and the process dies."""
    fetchers: list[Any] = []
    monkeypatch.setattr(
        grpc, "dynamic_ssl_server_credentials", lambda first, fetch, **_: fetchers.append(fetch)
    )
    files = issue(ca, tmp_path)
    identity = identity_of(files)
    identity.server_credentials()
    [fetch] = fetchers
    assert fetch() is None
    issue(ca, tmp_path)
    identity._refresh()
    assert fetch() is not None
    assert fetch() is None
