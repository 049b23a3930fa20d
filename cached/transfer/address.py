"""Where a URL is read from, and what to say there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from cached.core.errors import NotConfigured
from cached.kit.proxies import Proxies, Proxy, UnusableProxy

# What RFC 3986 lets stand in a URL, and `%`, so that what is quoted already stays as it is.
_AS_IT_IS: Final = "!#$%&'()*+,/:;=?@[]~"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Headers that tell nothing about the reader, and so may follow a redirect to another host.
_HARMLESS: Final = frozenset({"if-match", "accept"})


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
    try:
        proxy = proxies.of(parts.scheme, netloc)
    except UnusableProxy as error:
        raise NotConfigured(str(error)) from None
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
