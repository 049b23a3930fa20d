"""The HTTP client for small requests. Bulk bytes do not come this way."""

from __future__ import annotations

import logging
import ssl
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from cached import __version__
from cached.core.clock import Clock
from cached.core.errors import NotConfigured, SourceUnavailable
from cached.kit.pool import Pool
from cached.kit.proxies import Proxies, UnusableProxy
from cached.kit.retry_after import retry_after
from cached.sources.oci.pauses import Pauses
from cached.sources.oci.request import Answer, Reach, Request, redirected
from cached.sources.oci.resolver import PoolResolver
from cached.sources.oci.upstream import Upstream

log = logging.getLogger(__name__)

_CONNECT_SECONDS: Final = 5.0
_CONNECTIONS: Final = 64
_THREADS: Final = 8
_HOPS: Final = 5
_LATER: Final = frozenset({429, 503})
_HEADERS: Final = {"User-Agent": f"cached/{__version__}", "Accept-Encoding": "identity"}
# Whose answers mean nothing but trouble with the network or the server's HTTP.
_TROUBLE: Final = (aiohttp.ClientError, OSError, ValueError)


class Client:
    """Connections to registries, and to where they redirect. Belongs to one event loop.

    Cookies and .netrc are not for it. Times are for callers to bound, but for that of a connect.
    """

    def __init__(self, clock: Clock, ca_file: Path | None) -> None:
        """ca_file: to trust where an upstream names none; None for the system's CAs."""
        self._clock = clock
        self._ca_file = ca_file
        self._pool = Pool("registry", _THREADS)
        # aiohttp's trust_env would read .netrc too, and show its passwords to whoever is asked.
        self._proxies = Proxies.from_environment()
        self._contexts: dict[Path | None, ssl.SSLContext] = {}
        self._pauses = Pauses()
        self._session: aiohttp.ClientSession | None = None

    async def follow(self, upstream: Upstream, request: Request) -> Answer:
        """Send a request, and follow where it is redirected, as far as it may reach. Raises as `send`."""
        for _ in range(_HOPS + 1):
            answer = await self.send(upstream, request)
            if request.reach is Reach.NOWHERE or not answer.elsewhere:
                return answer
            there = redirected(request, answer.headers.get("location", ""))
            if there is None:
                raise SourceUnavailable(
                    f"{upstream.host} redirects for {request.what} to where it is not safe to follow",
                    hint="a redirect may lead to http:// or https://, and never from the second to the first",
                )
            request = there
        raise SourceUnavailable(f"{upstream.host}: more than {_HOPS} redirects for {request.what}")

    async def send(self, upstream: Upstream, request: Request) -> Answer:
        """Send a request to the registry, its token service, or where it redirects.

        Raises SourceUnavailable when there is no good answer, or when the registry asked to be left alone;
        NotConfigured for a CA file or a proxy that cannot be used.
        """
        self._heed_pause(upstream, request)
        try:
            async with await self._begin(upstream, request) as response:
                self._note_pause(upstream, response)
                good = 200 <= response.status < 300
                body = await _body(request, response) if good and request.most else b""
                return Answer(response.status, _headers(response), body, request)
        except aiohttp.ClientConnectorCertificateError as error:
            why = getattr(error.certificate_error, "verify_message", "")
            raise SourceUnavailable(
                f"{_place(request)} is not trusted for {request.what}: {why}",
                hint="name the file of its CA in ca_file of its upstream in images",
            ) from None
        except _TROUBLE as error:
            raise SourceUnavailable(
                f"no good answer from {_place(request)} for {request.what}: {_why(error)}",
                hint="check the network and the registry",
            ) from None

    async def close(self) -> None:
        if self._session:
            await self._session.close()
        self._pool.executor.shutdown(wait=False, cancel_futures=True)

    def _heed_pause(self, upstream: Upstream, request: Request) -> None:
        if left := self._pauses.left(upstream.host, self._clock.monotonic()):
            raise SourceUnavailable(
                f"{request.what}: {upstream.host} asked to be left alone, for another {left:.0f} s",
                hint="credentials in images.credentials may raise its limit",
            )

    def _note_pause(self, upstream: Upstream, response: aiohttp.ClientResponse) -> None:
        seconds = retry_after(response.headers.get("Retry-After", ""), self._clock.now())
        if response.status in _LATER and seconds:
            self._pauses.note(upstream.host, seconds, self._clock.monotonic())
            log.warning(
                "a registry asks to be left alone",
                extra={"registry": upstream.host, "status": response.status, "seconds": round(seconds)},
            )

    async def _begin(
        self, upstream: Upstream, request: Request
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, resolver=PoolResolver(self._pool)),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
                auto_decompress=False,
            )
        tls = urlsplit(request.url).scheme == "https"
        headers, through = self._through_proxy(request, tls)
        ca_file = None if request.foreign else upstream.ca_file
        return self._session.request(
            request.method,
            URL(request.url, encoded=True),
            headers={**_HEADERS, **request.headers, **headers},
            data=request.form,
            allow_redirects=False,
            ssl=await self._context(ca_file or self._ca_file) if tls else True,
            **through,
        )

    def _through_proxy(self, request: Request, tls: bool) -> tuple[dict[str, str], dict[str, Any]]:
        """What a proxy has to be told, and the options that lead to it; both empty where there is none."""
        parts = urlsplit(request.url)
        try:
            proxy = self._proxies.of(parts.scheme, parts.netloc)
        except UnusableProxy as error:
            raise NotConfigured(str(error)) from None
        if proxy is None:
            return {}, {}
        told = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        where = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
        options: dict[str, Any] = {"proxy": f"http://{where}:{proxy.port}"}
        return ({}, options | {"proxy_headers": told}) if tls else (told, options)

    async def _context(self, ca_file: Path | None) -> ssl.SSLContext:
        """Made at first need, since that takes a while."""
        if ca_file not in self._contexts:
            try:
                self._contexts[ca_file] = await self._pool.run(ssl.create_default_context, cafile=ca_file)
            except OSError as error:
                raise NotConfigured(
                    f"the CA file {ca_file} cannot be used: {error.strerror or error}",
                    hint="ca_file of an upstream in images names a bundle of certificates in PEM",
                ) from None
        return self._contexts[ca_file]


def _headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Names in lower case; what is said several times is joined, as HTTP has it."""
    return {name.lower(): ", ".join(response.headers.getall(name)) for name in response.headers}


async def _body(request: Request, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for block in response.content.iter_any():
        body += block
        if len(body) > request.most:
            raise SourceUnavailable(
                f"{_place(request)} answers with more than {request.most} bytes for {request.what}"
            )
    return bytes(body)


def _place(request: Request) -> str:
    return urlsplit(request.url).netloc


def _why(error: Exception) -> str:
    """For people, and without a URL, which may sign for the reader."""
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy answered {error.status}"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name does not resolve"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
