"""Connections kept between ranges, and the making of new ones."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from concurrent.futures import Future

from cached.core.clock import Clock
from cached.kit.pool import Pool
from cached.transfer.address import Endpoint
from cached.transfer.channel import Channel
from cached.transfer.options import TransferOptions
from cached.transfer.retry import Failed
from cached.transfer.sealed import Sealed
from cached.transfer.trust import CaTrust, Trust


class Untrusted(Exception):
    """The other end's certificate proves nothing; its text says why."""


class Connections:
    """Idle channels by endpoint, `keep` at most. Belongs to one event loop. Without trust, no TLS.

    What `options.ca_files` names is trusted by those alone.

    Dialling has threads of its own: a name that does not resolve can hold one for half a minute, and
    nobody should wait for it who wants nothing any more.
    """

    def __init__(self, options: TransferOptions, clock: Clock, trust: Trust | None, *, keep: int) -> None:
        self._options = options
        self._clock = clock
        self._trust = trust
        self._trusts = {
            address: CaTrust(ca_file, "ca_file of its upstream in images")
            for address, ca_file in options.ca_files.items()
        }
        self._keep = keep
        self._dialling = Pool("dial", options.connections)
        self._idle: list[Channel] = []  # least recently used first

    async def take(self, endpoint: Endpoint) -> Channel:
        """A channel to `endpoint`, a kept one if there is one. Give it back.

        Raises Failed when the endpoint cannot be reached, Untrusted when it is not who it should be,
        NotConfigured when the trust cannot be had. Cancelled, it returns at once; what was being
        dialled is closed when it comes.
        """
        if channel := self._pop(endpoint):
            return channel
        dialled = self._dialling.executor.submit(self._dial, endpoint)
        try:
            return await asyncio.wrap_future(dialled)
        except asyncio.CancelledError:
            dialled.add_done_callback(_close_unwanted)
            raise

    def give(self, channel: Channel) -> None:
        """Keep a channel for the next taker, or close it if it cannot serve one."""
        if not channel.reusable:
            channel.close()
            return
        self._idle.append(channel)
        if len(self._idle) > self._keep:
            self._idle.pop(0).close()

    def trim(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def close(self) -> None:
        """Close what is idle; what is being dialled is closed when it comes."""
        self.trim()
        self._dialling.executor.shutdown(wait=False, cancel_futures=True)

    def _pop(self, endpoint: Endpoint) -> Channel | None:
        for at in range(len(self._idle) - 1, -1, -1):
            if self._idle[at].endpoint == endpoint:
                return self._idle.pop(at)
        return None

    def _dial(self, endpoint: Endpoint) -> Channel:
        try:
            connection = self._connection(endpoint)
            try:
                connection.connect()
                return Channel(endpoint, connection, self._options, self._clock)
            except BaseException:
                connection.close()
                raise
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(
                f"the TLS certificate of {endpoint.host}:{endpoint.port} is not trusted: "
                f"{error.verify_message}"
            ) from None
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise Failed("connect", f"cannot connect to {_name(endpoint)}: {_why(error)}") from None

    def _connection(self, endpoint: Endpoint) -> http.client.HTTPConnection:
        proxy = endpoint.proxy
        host, port = (proxy.host, proxy.port) if proxy else (endpoint.host, endpoint.port)
        timeout = self._options.connect_timeout
        if endpoint.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        trust = self._trusts.get(f"{endpoint.host}:{endpoint.port}", self._trust)
        assert trust is not None, "an https:// endpoint, and nothing to trust it by"
        context, name = trust.client_context(), trust.server_name(endpoint.host)
        connection = _Secured(host, port, timeout, context, name)
        if proxy:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            connection.set_tunnel(endpoint.host, endpoint.port, headers)
        return connection


class _Secured(http.client.HTTPSConnection):
    """Demands a certificate for `name`, which need not be the host that is dialled."""

    def __init__(self, host: str, port: int, timeout: float, context: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls = context
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = Sealed(self.sock, self._tls, self._name)


def _close_unwanted(dialled: Future[Channel]) -> None:
    if not dialled.cancelled() and dialled.exception() is None:
        dialled.result().close()


def _name(endpoint: Endpoint) -> str:
    name = f"{endpoint.host}:{endpoint.port}"
    return f"{name} by the proxy {endpoint.proxy.host}:{endpoint.proxy.port}" if endpoint.proxy else name


def _why(error: Exception) -> str:
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "its name does not resolve"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return f"no HTTP: {type(error).__name__}"
