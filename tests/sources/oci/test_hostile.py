"""Servers that speak something else than HTTP, or HTTP that nobody should believe."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, SourceUnavailable
from cached.core.image import Repository
from cached.core.manifest import OCI_MANIFEST
from cached.core.registry import NODE
from cached.sources.oci import OciRegistry, UpstreamOptions
from cached.telemetry.metrics import Metrics
from tests.sources.oci.house import HOST

REPOSITORY = Repository.of(HOST, "a/b")
WANTED = Digest.sha256(b"wanted")
DIGEST = f"Docker-Content-Digest: {WANTED}\r\nContent-Type: {OCI_MANIFEST}\r\n"


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[OciRegistry]:
    """A source whose registry says this to whatever it is asked."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = OciRegistry(Metrics(), {HOST: UpstreamOptions(f"http://127.0.0.1:{port}")})
    async with server:
        try:
            yield source
        finally:
            await source.close()


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "\x00" * 1000,
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Length: -5\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Length: 0x10\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Length: 5, 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Length: 99999999999999999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "X: " + "x" * 100_000 + "\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "X: y\r\n" * 10_000 + "\r\n",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: " + "x" * 100_000 + "\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nLocation: /" + "x" * 100_000 + "\r\n\r\n",
        "HTTP/1.1 200 OK\r\n" + DIGEST + "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n",
    ],
    ids=range(14),
)
async def test_answers_that_make_no_sense(answer: str) -> None:
    async with saying(answer.encode()) as source:
        for call in (source.manifest(REPOSITORY, "v1", NODE), source.blob(REPOSITORY, WANTED, NODE)):
            with pytest.raises(SourceUnavailable, match=r"registry\.test/a/b"):
                await call


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        (f"Docker-Content-Digest: {Digest.sha256(b'other')}\r\nContent-Length: 5\r\n", Corrupt),
        (f"Docker-Content-Digest: {WANTED}\r\nContent-Length: 4194305\r\n", Corrupt),
        (f"Docker-Content-Digest: {WANTED}\r\nContent-Length: 999999999999999\r\n", Corrupt),
        (f"Docker-Content-Digest: {WANTED}x\r\nContent-Length: 0\r\n", Corrupt),
        (f"Docker-Content-Digest: {WANTED},{WANTED}\r\nContent-Length: 0\r\n", Corrupt),
        ("Content-Length: 0\r\n", Corrupt),
    ],
)
async def test_manifests_that_are_not_the_one_asked_for(headers: str, error: type[CachedError]) -> None:
    """Where the digest cannot be read, the body is, which is empty here."""
    answer = f"HTTP/1.1 200 OK\r\nContent-Type: {OCI_MANIFEST}\r\n{headers}\r\n"
    async with saying(answer.encode()) as source:
        with pytest.raises(error):
            await source.manifest(REPOSITORY, WANTED, NODE)
