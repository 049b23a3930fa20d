"""A mirror over FakeImages in the test's own loop, and a client that says whatever a test wants."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cached.serve.mirror.server import MirrorOptions, MirrorServer
from cached.telemetry.metrics import Metrics
from tests.serve.mirror.images import FakeImages

PATIENCE = 20.0
"""Seconds after which a test has failed."""


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def error(self) -> dict[str, str]:
        """The one error of an OCI body."""
        assert self.fields["Content-Type"] == "application/json"
        said = json.loads(self.body)
        assert set(said) == {"errors"}
        [error] = said["errors"]
        assert set(error) == {"code", "message"}
        assert all(isinstance(value, str) for value in error.values())
        found: dict[str, str] = error
        return found


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def quiet(self, seconds: float) -> None:
        """Return when the mirror has ended the connection, or said nothing for so long."""
        more = b""
        said = b""
        with suppress(TimeoutError, ConnectionError):
            while True:
                async with asyncio.timeout(seconds):
                    more = await self.reader.read(1 << 16)
                said += more
                if not more:
                    break
        self.reader = asyncio.StreamReader()
        self.reader.feed_data(said)
        self.reader.feed_eof()

    @classmethod
    async def connect(cls, port: int, buffer: int = 0) -> Client:
        """buffer: bytes that the system takes in before they are read; 0 for its own choice."""
        sock = socket.socket()
        if buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        except BaseException:
            sock.close()
            raise
        return cls(*await asyncio.open_connection(sock=sock, limit=1 << 16))

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.writer.close()

    def pause(self) -> None:
        """Take no more from the system."""
        transport = self.writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()

    def reset(self) -> None:
        """Leave without reading what is still under way."""
        self.writer.transport.abort()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def ask_only(self, path: str, *fields: str, method: str = "GET") -> None:
        self.send(request(path, *fields, method=method))

    async def head(self) -> Answer:
        """Status and fields of the next answer; its body is yet to be read."""
        async with asyncio.timeout(PATIENCE):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = raw.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0") or status >= "400"
        fields = dict(one.split(": ", 1) for one in lines)
        assert len(fields) == len(lines), "a field twice"
        assert "Transfer-Encoding" not in fields
        assert "Content-Encoding" not in fields
        assert (fields["Docker-Distribution-API-Version"], fields["Server"]) == ("registry/2.0", "cached")
        return Answer(int(status), fields, b"")

    async def take(self, count: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(count)

    async def answer(self, *, head: bool = False) -> Answer:
        """The next answer, whole; to a HEAD it has no body."""
        found = await self.head()
        none = head or found.status == 304
        body = b"" if none else await self.take(int(found.fields["Content-Length"]))
        return Answer(found.status, found.fields, body)

    async def ask(self, path: str, *fields: str, method: str = "GET") -> Answer:
        self.ask_only(path, *fields, method=method)
        return await self.answer(head=method == "HEAD")

    async def rest(self) -> bytes:
        """All until the mirror ends the connection. Raises ConnectionResetError when that is a reset."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()


def request(path: str, *fields: str, method: str = "GET") -> bytes:
    """A well-formed request, but for what the caller puts into it."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: mirror", *fields, "", ""]).encode("latin-1")


@dataclass
class House:
    server: MirrorServer
    port: int
    images: FakeImages
    metrics: Metrics

    async def client(self, buffer: int = 0) -> Client:
        return await Client.connect(self.port, buffer)

    async def ask(self, path: str, *fields: str, method: str = "GET") -> Answer:
        async with await self.client() as client:
            return await client.ask(path, *fields, method=method)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    @property
    def guard(self) -> Any:
        """The guard's process."""
        return self.server._door._process


@asynccontextmanager
async def serving(root: Path, options: MirrorOptions | None = None) -> AsyncIterator[House]:
    images, metrics = FakeImages(root), Metrics()
    server = MirrorServer("127.0.0.1:0", images, metrics, options or MirrorOptions())
    port = await server.start()
    try:
        yield House(server, port, images, metrics)
    finally:
        await server.stop(0)
