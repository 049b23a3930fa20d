"""A stand-in for the Kubernetes API server: lists and watches of EndpointSlices, and their failures.

A fake, because the real one takes minutes to build and seconds to start, and cannot be told to break off,
to forget or to refuse at a chosen moment. What it says is what Kubernetes 1.34 was seen to say, and
`tests/peers/test_membership_kubernetes.py` holds the membership against the real one.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.servers.ports import free_ports

PATH = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices"

TASK = "a connection of the API server"


@dataclass(frozen=True)
class Request:
    """One that came, with its query and what the server answered."""

    query: dict[str, str]
    status: int

    @property
    def watch(self) -> bool:
        return "watch" in self.query


class ApiServerFake:
    """Serves on the loop of whoever enters it. Slices are those of one namespace, by name."""

    def __init__(self, namespace: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.token = "first"
        self.refuse: int | None = None
        """A status for all requests, such as 403 or 500."""
        self.nonsense: bytes | None = None
        """An answer to all lists."""
        self.port = free_ports(1)[0]
        self._path = PATH.format(namespace)
        self._tls = tls
        self._version = 100
        self._oldest = 0
        self._slices: dict[str, dict[str, Any]] = {}
        self._came = asyncio.Event()
        self._history: list[tuple[int, str, bytes]] = []
        self._watches: dict[asyncio.Queue[bytes | None], str] = {}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """At the same port as ever, with all slices."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)

    async def stop(self) -> None:
        """Nobody answers any more, and open watches break off."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.break_off()
            if self._tasks:
                await asyncio.wait(self._tasks)

    async def asked(self, true: Callable[[list[Request]], bool]) -> None:
        """Wait until that holds for the requests that came."""
        async with asyncio.timeout(10):
            while not true(self.requests):
                self._came.clear()
                await self._came.wait()

    def put(self, name: str, service: str, found: dict[str, Any]) -> None:
        """Add or replace a slice of `service`."""
        kind = "MODIFIED" if name in self._slices else "ADDED"
        labels = {"kubernetes.io/service-name": service}
        self._slices[name] = {**found, "metadata": {"name": name, "labels": labels}}
        self._tell(kind, service, self._slices[name])

    def remove(self, name: str) -> None:
        gone = self._slices.pop(name)
        self._tell("DELETED", gone["metadata"]["labels"]["kubernetes.io/service-name"], gone)

    def bookmark(self) -> None:
        """The version moves on, by something that no watch of slices is told."""
        self._tell("BOOKMARK", "", {"metadata": {}, "addressType": "", "endpoints": None, "ports": None})

    def say(self, line: bytes) -> None:
        """To all open watches, whatever it is."""
        for watch in self._watches:
            watch.put_nowait(line + b"\n")

    def end_watches(self) -> None:
        """As at the end of the time that they were asked for."""
        for watch in self._watches:
            watch.put_nowait(None)

    def forget(self) -> None:
        """All that led to the present: watches from an older version get 410 from now on."""
        self._history.clear()
        self._oldest = self._version

    def break_off(self) -> None:
        """All open connections, in the middle of whatever they are."""
        for writer in self._writers:
            writer.transport.abort()
        self.end_watches()

    def _tell(self, kind: str, service: str, found: dict[str, Any]) -> None:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        line = json.dumps({"type": kind, "object": found}).encode() + b"\n"
        self._history.append((self._version, service, line))
        for watch, of in self._watches.items():
            if service in ("", of):
                watch.put_nowait(line)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.set_name(TASK)
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await self._answer(head.decode(), writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._writers.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        line, *fields = head.split("\r\n")
        target = urlsplit(line.split(" ")[1])
        query = {key: values[0] for key, values in parse_qs(target.query).items()}
        authorization = next(
            (f.split(" ", 1)[1] for f in fields if f.lower().startswith("authorization:")), ""
        )
        status, reason = 200, ""
        if authorization != f"Bearer {self.token}":
            status, reason = 401, "Unauthorized"
        elif self.refuse is not None:
            status, reason = self.refuse, "Refused"
        elif target.path != self._path:
            status, reason = 404, "NotFound"
        self.requests.append(Request(query, status))
        self._came.set()
        if status != 200:
            return self._send(writer, status, json.dumps(_status(status, reason)).encode())
        key, _, service = query["labelSelector"].partition("=")
        assert key == "kubernetes.io/service-name"
        if "watch" in query:
            return await self._watch(writer, int(query["resourceVersion"]), service)
        if self.nonsense is not None:
            return self._send(writer, 200, self.nonsense)
        items = [found for found in self._slices.values() if _is_of(service, found)]
        listed = {"metadata": {"resourceVersion": str(self._version)}, "items": items}
        return self._send(writer, 200, json.dumps(listed).encode())

    def _send(self, writer: asyncio.StreamWriter, status: int, body: bytes) -> None:
        writer.write(b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _watch(self, writer: asyncio.StreamWriter, after: int, service: str) -> None:
        """Like the real one, it tells of an expired version within an answer that begins well."""
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        if after < self._oldest:
            gone = json.dumps({"type": "ERROR", "object": _status(410, "Expired")}).encode() + b"\n"
            writer.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(gone), gone))
            return
        events: asyncio.Queue[bytes | None] = asyncio.Queue()
        for version, of, line in self._history:
            if version > after and of in ("", service):
                events.put_nowait(line)
        self._watches[events] = service
        try:
            while (event := await events.get()) is not None:
                # In two chunks, so that no reader may take a chunk for an event.
                for some in (event[:7], event[7:]):
                    writer.write(b"%x\r\n%b\r\n" % (len(some), some))
                    await writer.drain()
            writer.write(b"0\r\n\r\n")
        finally:
            del self._watches[events]


def _is_of(service: str, found: dict[str, Any]) -> bool:
    return bool(found["metadata"]["labels"]["kubernetes.io/service-name"] == service)


def _status(code: int, reason: str) -> dict[str, Any]:
    return {"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason}
