"""Ranges of blobs for other members, over HTTP/1.1 in TLS."""

from __future__ import annotations

import errno
import logging
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Final

from cached.core.errors import Busy, NotConfigured
from cached.core.peer import Shelf
from cached.peers.identity import Identity
from cached.serve.peer.data.channel import Channel
from cached.serve.peer.data.connection import Connection
from cached.serve.peer.data.crowd import Crowd
from cached.serve.peer.data.options import DataOptions
from cached.serve.peer.data.pace import Pace
from cached.serve.peer.data.parts import DataParts
from cached.serve.peer.data.slots import Slots
from cached.telemetry.metrics import Metrics

__all__ = ["DataOptions", "DataServer"]

log = logging.getLogger(__name__)

_BACKLOG: Final = 128
_STOP: Final = 2.0  # seconds
_BREATH: Final = 0.1  # seconds before another try where the system is short of something


class DataServer:
    """Gives other members what the shelf has, by the name of the blob, and nothing else.

    `GET /v1/blobs/<algorithm>/<hex>` with one `Range: bytes=a-b` answers 206 when all of these bytes are
    verified, and 404 when they are not here, not yet here, or not for others; 416 beyond the blob; 503 with
    Retry-After when enough uploads are under way. HEAD tells the same without bytes, and without a range
    the size. Each connection has a thread of its own, at a lower priority than the rest of the node.
    """

    def __init__(
        self,
        listen: tuple[str, int],
        shelf: Shelf,
        identity: Identity | None,
        metrics: Metrics,
        options: DataOptions,
    ) -> None:
        """listen: host and port, 0 for any. Without an identity all is in plaintext, and for everybody."""
        self._listen = listen

        def tell(load: int) -> None:
            metrics.peer_uploads.set(load)
            shelf.busy(load)

        slots = Slots(options.uploads, tell)
        pace = Pace(options.bandwidth, options.uploads)
        self._parts = DataParts(shelf, identity, metrics, options, slots, pace)
        self._crowd = Crowd(options.connections)
        self._over = threading.Event()

    @property
    def sent(self) -> Mapping[str, int]:
        """Bytes by the other end's IP address, of those that were sent to last. For any thread."""
        return self._parts.tally.snapshot()

    def start(self) -> int:
        """Begin to serve; returns the port. Raises Busy or NotConfigured, naming the address."""
        self._socket = _listening(*self._listen)
        self._thread = threading.Thread(target=self._accept, name="cached-data-accept", daemon=True)
        self._thread.start()
        return int(self._socket.getsockname()[1])

    def stop(self) -> None:
        """Cut all connections and end all threads within seconds, but for those that a dead disk holds."""
        self._over.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._thread.join()
        self._socket.close()
        self._crowd.cut()  # first, or those who wait now would send the rest without a bound
        self._parts.slots.close()
        self._parts.pace.stop()
        if left := self._crowd.leave(_STOP):
            log.warning("Connections of neighbours did not end.", extra={"connections": left})

    def _accept(self) -> None:
        while not self._over.is_set():
            try:
                sock, source = self._socket.accept()
            except OSError as error:
                if not self._over.is_set() and error.errno != errno.ECONNABORTED:
                    self._parts.complain("No connection can be accepted.", "", error.strerror or str(error))
                    self._over.wait(_BREATH)
                continue
            try:
                admitted = self._crowd.admit(Connection(Channel(sock), plain_address(source[0]), self._parts))
            except OSError:  # it has gone already
                admitted = False
            if not admitted:
                sock.close()


def plain_address(address: str) -> str:
    """An IP address as one writes it: without the scope, and IPv4 as such on a socket for both kinds."""
    found = ip_address(address.partition("%")[0])
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, where = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        both = family == socket.AF_INET6 and where[0] == "::"
        return socket.create_server(where[:2], family=family, backlog=_BACKLOG, dualstack_ipv6=both)
    except OSError as error:
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise Busy(
                f"another process listens on {shown}",
                hint="stop it, or set peers.data_port to a free port",
            ) from None
        raise NotConfigured(
            f"cannot serve neighbours on {shown}: {error.strerror or error}",
            hint="set peers.listen to an address of this node, and peers.data_port to a free port",
        ) from None
