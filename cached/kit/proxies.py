"""Forward proxies of the environment."""

from __future__ import annotations

import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Proxy:
    """A forward proxy. Its authorization is kept out of repr."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)


class UnusableProxy(Exception):
    """The environment names a proxy that nothing here can speak to. The text says what to set."""


class Proxies:
    """The proxies of the environment, by the rules that boto3 follows too (those of urllib.request)."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._settings = dict(settings)

    @classmethod
    def from_environment(cls) -> Proxies:
        return cls(urllib.request.getproxies_environment())

    def of(self, scheme: str, netloc: str) -> Proxy | None:
        """The proxy to reach `netloc` by. Raises UnusableProxy."""
        said = self._settings.get(scheme)
        if not said or urllib.request.proxy_bypass(netloc, self._settings):
            return None
        parts = urlsplit(said if "://" in said else f"http://{said.removeprefix('//')}")
        if parts.scheme != "http" or not parts.hostname:
            raise UnusableProxy(
                f"the {scheme} proxy of the environment is not an http:// one; "
                f"set {scheme.upper()}_PROXY to http://host:port"
            )
        authorization = ""
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = f"Basic {b64encode(pair.encode()).decode()}"
        return Proxy(parts.hostname, parts.port or 80, authorization)
