"""Things that stand between a client and a server: a TLS front, and forward proxies."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Relay:
    """A listener on loopback; `heads` holds the first line and the headers that a proxy was sent."""

    port: int = 0
    heads: list[str] = field(default_factory=list)


@asynccontextmanager
async def relay(to: str, context: ssl.SSLContext | None = None) -> AsyncIterator[Relay]:
    """Hand everything on to the http:// endpoint `to`; with a context, take it in TLS."""
    parts = urlsplit(to)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _join(reader, writer, parts.hostname or "", parts.port or 80)

    async with _listening(forward, context) as port:
        yield Relay(port)


@asynccontextmanager
async def proxy() -> AsyncIterator[Relay]:
    """A forward proxy: CONNECT, and plaintext GETs with a whole URL."""
    seen = Relay()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.heads.append(head.decode())
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            head = b""
        else:
            head = head.replace(target.encode(), target[target.index("/", 7) :].encode(), 1)
        await _join(reader, writer, parts.hostname or "", parts.port or 80, head)

    async with _listening(serve, None) as port:
        seen.port = port
        yield seen


@asynccontextmanager
async def _listening(handler: Handler, context: ssl.SSLContext | None) -> AsyncIterator[int]:
    running: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        running.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            running.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    async with server:
        yield int(server.sockets[0].getsockname()[1])
        server.close()
        if running:
            await asyncio.wait(set(running), timeout=5)


async def _join(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, first: bytes = b""
) -> None:
    theirs, ours = await asyncio.open_connection(host, port)
    ours.write(first)
    try:
        pumps = [asyncio.ensure_future(_pump(reader, ours)), asyncio.ensure_future(_pump(theirs, writer))]
        _, pending = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for pump in pending:
            pump.cancel()
        await asyncio.wait(pumps)
    finally:
        ours.close()
        with suppress(OSError):
            await ours.wait_closed()


async def _pump(source: asyncio.StreamReader, drain: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while block := await source.read(1 << 16):
            drain.write(block)
            await drain.drain()


def make_certificate(directory: Path, name: str, subject: str) -> tuple[Path, Path]:
    """A self-signed certificate for `subject`, such as IP:127.0.0.1, and its key, in PEM."""
    certificate, key = directory / f"{name}.pem", directory / f"{name}.key"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key
