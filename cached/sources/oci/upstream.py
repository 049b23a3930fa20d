"""One registry that may be asked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cached.core.errors import NotConfigured
from cached.core.image import DOCKER_HUB
from cached.sources.oci.options import UpstreamOptions

_PORTS: Final = {"http": 80, "https": 443}
_HUB_API: Final = "https://registry-1.docker.io"
_HUB_LOGIN: Final = "https://index.docker.io/v1/"

# So strict that no two readers of URLs can disagree on the host.
_REALM = re.compile(
    r"(https?)://([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?(/[!#-;=?-\[\]_a-~]*)?\Z"
)


@dataclass(frozen=True, slots=True)
class Upstream:
    """host: as image names have it. base: URL before `/v2/`. The rest is as in UpstreamOptions."""

    host: str
    base: str
    ca_file: Path | None
    token_hosts: frozenset[str]

    @classmethod
    def of(cls, host: str, options: UpstreamOptions) -> Upstream:
        """Raises NotConfigured for an endpoint that is no URL of a server."""
        base = options.endpoint or (_HUB_API if host == DOCKER_HUB else f"https://{host}")
        parts = urlsplit(base)
        try:
            usable = parts.scheme in _PORTS and parts.hostname and (parts.port or 1)
        except ValueError:
            usable = False
        if not usable or parts.query or parts.fragment or "@" in parts.netloc:
            raise NotConfigured(
                f"the endpoint of the registry {host} is not a URL of a server",
                hint="write http://host:port or https://host:port",
            )
        return cls(host, base.rstrip("/"), options.ca_file, frozenset(options.token_hosts))

    @property
    def secure(self) -> bool:
        """Whether it is spoken to in TLS."""
        return self.base.startswith("https:")

    @property
    def address(self) -> str:
        """`host:port` of its API."""
        parts = urlsplit(self.base)
        return f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"

    @property
    def login(self) -> str:
        """What credential helpers know it by."""
        return _HUB_LOGIN if self.host == DOCKER_HUB else self.host

    def url(self, name: str, path: str) -> str:
        """Of something in the repository `name`."""
        return f"{self.base}/v2/{name}/{path}"

    def believes(self, realm: str) -> bool:
        """Whether the token service at `realm` may see what was meant for this registry.

        It is on the same host, or on one that shares a domain of two labels or more with it: the domain
        itself or a host right below it; or it is one of `token_hosts`. TLS is not given up on the way.
        """
        found = _REALM.match(realm)
        if not found or (self.secure and found[1] != "https"):
            return False
        host, own = found[2].lower(), urlsplit(self.base).hostname or ""
        named = {each.lower() for each in self.token_hosts} & {host, f"{host}{found[3] or ''}"}
        return bool(named) or host.strip("[]") == own or _kin(host, own)


def _kin(host: str, own: str) -> bool:
    parent = own.partition(".")[2]
    if "." not in parent or _is_address(own):
        return False
    return parent in (host, host.partition(".")[2])


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
