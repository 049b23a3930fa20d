"""A data server over a real store, and a client that says whatever a test wants."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cached.core.digest import Digest
from cached.core.peer import Shelf
from cached.peers.identity import Identity
from cached.serve.peer.data.server import DataOptions, DataServer
from cached.store.store import Store
from cached.telemetry.metrics import Metrics
from tests.store.disk import put, some_bytes
from tests.store.house import MIB, bring, store_at, tree_of

WHOLE_DATA = some_bytes(2 * MIB + 4321, 1)
PART_DATA = some_bytes(3 * MIB + 77, 2)
SECRET_DATA = some_bytes(100_000, 3)
WHOLE, PART, SECRET = map(Digest.sha256, (WHOLE_DATA, PART_DATA, SECRET_DATA))
PART_CHUNKS = [0, 2]
STRANGER = Digest.sha256(b"nobody has this")


@dataclass
class StoreShelf:
    """What is shared of a store."""

    store: Store
    shared: set[Digest] = field(default_factory=set)
    loads: list[int] = field(default_factory=list)

    def open(self, blob: Digest, offset: int, length: int) -> int | None:
        return self.store.open_verified(blob, offset, length) if blob in self.shared else None

    def size(self, blob: Digest) -> int | None:
        return self.store.blob_size(blob) if blob in self.shared else None

    def busy(self, load: int) -> None:
        self.loads.append(load)


@dataclass
class FileShelf:
    """One file, as whatever blob is asked for."""

    path: Path
    loads: list[int] = field(default_factory=list)
    nice: int | None = None

    def open(self, blob: Digest, offset: int, length: int) -> int | None:
        self.nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread
        return os.open(self.path, os.O_RDONLY)

    def size(self, blob: Digest) -> int | None:
        return self.path.stat().st_size

    def busy(self, load: int) -> None:
        self.loads.append(load)


@dataclass(frozen=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: bytes


class Client:
    """One connection. It takes its time, but not more than 10 seconds."""

    def __init__(
        self, port: int, tls: tuple[ssl.SSLContext, str] | None = None, *, source: str = "127.0.0.1"
    ) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0))
        if tls is not None:
            try:
                self.sock = tls[0].wrap_socket(self.sock, server_hostname=tls[1])
            except BaseException:
                self.sock.close()
                raise
        self.left = b""

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def done(self) -> None:
        """Send no more; the server may have ended the connection already."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def answer(self, *, head: bool = False) -> Answer:
        """The next answer; to a HEAD it has no body."""
        while b"\r\n\r\n" not in self.left:
            self.left += self._more()
        raw, _, self.left = self.left.partition(b"\r\n\r\n")
        line, *lines = raw.decode("ascii").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = dict(one.split(": ", 1) for one in lines)
        assert len(fields) == len(lines)
        length = 0 if head else int(fields["Content-Length"])
        while len(self.left) < length:
            self.left += self._more()
        body, self.left = self.left[:length], self.left[length:]
        return Answer(int(status), fields, body)

    def ask(self, blob: str, first: int, last: int, *fields: str, method: str = "GET") -> Answer:
        self.send(request(blob, f"bytes={first}-{last}", *fields, method=method))
        return self.answer(head=method == "HEAD")

    def is_over(self) -> bool:
        """Wait until the server ends the connection; False when it says something more."""
        try:
            return not self.left and not self.sock.recv(1)
        except ConnectionError:
            return True

    def _more(self) -> bytes:
        data = self.sock.recv(1 << 16)
        if not data:
            raise EOFError
        return data


def request(blob: str, said: str | None, *fields: str, method: str = "GET") -> bytes:
    """A well-formed request, but for what the caller puts into it."""
    lines = [f"{method} /v1/blobs/{blob.replace(':', '/')} HTTP/1.1", "Host: node", *fields]
    if said is not None:
        lines.append(f"Range: {said}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class House:
    server: DataServer
    port: int
    metrics: Metrics
    shelf: StoreShelf

    def client(self) -> Client:
        return Client(self.port)

    def refused(self, reason: str) -> float:
        return refused(self.metrics, reason)


def refused(metrics: Metrics, reason: str) -> float:
    found = metrics.registry.get_sample_value("cached_peer_refused_requests_total", {"reason": reason})
    return found or 0.0


@contextmanager
def started(
    shelf: Shelf,
    *,
    identity: Identity | None = None,
    metrics: Metrics | None = None,
    options: DataOptions | None = None,
) -> Iterator[tuple[DataServer, int]]:
    """A server on loopback, and its port."""
    server = DataServer(
        ("127.0.0.1", 0), shelf, identity, metrics or Metrics(), options or DataOptions(idle=10.0)
    )
    port = server.start()
    try:
        yield server, port
    finally:
        server.stop()


@asynccontextmanager
async def serving(root: Path, options: DataOptions | None = None) -> AsyncIterator[House]:
    """A server over a store that has WHOLE, some chunks of PART in an open stage, and SECRET to itself.

    The tests' client blocks the event loop on purpose: the server must do without it.
    """
    async with store_at(root) as store:
        await bring(store, {"whole": WHOLE_DATA})
        await bring(store, {"secret": SECRET_DATA}, "secret")
        reservation = await store.reserve(tree_of({"part": PART_DATA}))
        stage = await store.stage(reservation, PART, len(PART_DATA))
        await asyncio.to_thread(put, stage, PART_DATA, PART_CHUNKS)
        shelf, metrics = StoreShelf(store, {WHOLE, PART}), Metrics()
        with started(shelf, metrics=metrics, options=options) as (server, port):
            yield House(server, port, metrics, shelf)
        await store.release(reservation)
