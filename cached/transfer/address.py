"""Where a URL is read from, and what to say there."""

from __future__ import annotations

import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from cached.core.errors import NotConfigured

# What RFC 3986 lets stand in a URL, and `%`, so that what is quoted already stays as it is.
_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[]~"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Headers that tell nothing about the reader, and so may follow a redirect to another host.
_HARMLESS: Final = frozenset({"if-match", "accept"})


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. Its authorization is kept out of repr."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What a kept connection leads to."""

    scheme: str
    host: str
    port: int
    proxy: Proxy | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A GET, ready to send but for its range. Its target and headers may sign for the reader."""

    endpoint: Endpoint
    url: str = field(repr=False)
    target: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)


class Proxies:
    """The proxies of the environment, by the rules that boto3 follows too (those of urllib.request)."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)

    @classmethod
    def from_environment(cls) -> Proxies:
        return cls(urllib.request.getproxies_environment())

    def of(self, scheme: str, netloc: str) -> Proxy | None:
        """The proxy to reach `netloc` by. Raises NotConfigured for one that cannot be used."""
        said = self._settings.get(scheme)
        if not said or urllib.request.proxy_bypass(netloc, self._settings):
            return None
        parts = urlsplit(said if "://" in said else f"http://{said.removeprefix('//')}")
        if parts.scheme != "http" or not parts.hostname:
            raise NotConfigured(
                f"the {scheme} proxy of the environment is not an http:// one",
                hint=f"set {scheme.upper()}_PROXY to http://host:port",
            )
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {b64encode(pair.encode()).decode()}"
        return Proxy(parts.hostname, parts.port or 80, authorization)


def call_to(url: str, headers: Mapping[str, str], proxies: Proxies) -> Call:
    """How to GET `url`, an http:// or https:// one; what may not stand in a URL is quoted.

    Raises ValueError for a malformed host or port, NotConfigured for a proxy that cannot be used.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port or _DEFAULT_PORTS[parts.scheme]
    if not host:
        raise ValueError("a URL without a host")
    if not host.isascii():
        host = host.encode("idna").decode()
    netloc = f"[{host}]" if ":" in host else host
    if port != _DEFAULT_PORTS[parts.scheme]:
        netloc = f"{netloc}:{port}"
    path = quote(parts.path or "/", safe=_AS_IT_IS)
    target = f"{path}?{quote(parts.query, safe=_AS_IT_IS)}" if parts.query else path
    url = f"{parts.scheme}://{netloc}{target}"
    proxy = proxies.of(parts.scheme, netloc)
    if proxy and parts.scheme == "http":
        target = url
        if proxy.authorization:
            headers = {**headers, "Proxy-Authorization": proxy.authorization}
    return Call(Endpoint(parts.scheme, host, port, proxy), url, target, headers)


def redirected(call: Call, location: str, headers: Mapping[str, str], proxies: Proxies) -> Call | None:
    """The call that a redirect of `call` asks for, or None where following is not safe.

    `headers` are those of the request; another host is told none of them that speaks of the reader, only
    what its own URL says. TLS is not given up on the way.
    """
    try:
        url = urljoin(call.url, location)
        scheme = urlsplit(url).scheme
        if scheme not in _DEFAULT_PORTS or (call.endpoint.scheme, scheme) == ("https", "http"):
            return None
        there = call_to(url, headers, proxies)
        if _origin(there) != _origin(call):
            harmless = {name: value for name, value in headers.items() if name.lower() in _HARMLESS}
            there = call_to(url, harmless, proxies)
    except ValueError:
        return None
    return there


def _origin(call: Call) -> tuple[str, str, int]:
    return call.endpoint.scheme, call.endpoint.host, call.endpoint.port
