"""Docker's configuration, as far as it tells credentials. Pure.

https://docs.docker.com/reference/cli/docker/login/, and what Kubernetes mounts as pull secrets.
"""

from __future__ import annotations

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cached.core.image import DOCKER_HUB
from cached.sources.oci.secret import Secret

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_HUB: Final = frozenset({"index.docker.io", "registry-1.docker.io", DOCKER_HUB})


class Unusable(Exception):
    """It makes no sense. The text says why, and quotes nothing."""


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """Entries and names of helper programs by host; `store` is the helper for all others, or ""."""

    _entries: Mapping[str, Any] = field(repr=False)
    _helpers: Mapping[str, Any]
    store: str

    @classmethod
    def parse(cls, data: bytes) -> DockerConfig:
        """Read a config.json, or a .dockercfg, which has the entries alone. Raises Unusable."""
        try:
            said = json.loads(data)
        except (ValueError, RecursionError):
            raise Unusable("it is not JSON") from None
        if not isinstance(said, dict):
            raise Unusable("it is not a JSON object")
        if not {"auths", "credHelpers", "credsStore"} & said.keys():
            said = {"auths": {key: entry for key, entry in said.items() if isinstance(entry, dict)}}
        entries, helpers = said.get("auths") or {}, said.get("credHelpers") or {}
        if not isinstance(entries, dict) or not isinstance(helpers, dict):
            raise Unusable("its auths or credHelpers are not JSON objects")
        return cls(_by_host(entries), _by_host(helpers), _program(said.get("credsStore") or ""))

    def helper(self, host: str) -> str:
        """The program to ask for the host, after `docker-credential-`; "" for none. Raises Unusable."""
        return _program(self._helpers.get(host) or self.store)

    def secret(self, host: str) -> Secret | None:
        """What stands in it for the host. Raises Unusable for an entry that makes no sense."""
        entry = self._entries.get(host)
        if not entry:
            return None
        if not isinstance(entry, dict):
            raise Unusable(f"its entry for {host} is not a JSON object")
        words = [entry.get(name) or "" for name in ("username", "password", "identitytoken", "registrytoken")]
        auth = entry.get("auth") or ""
        if not all(isinstance(word, str) and word.isprintable() for word in (*words, auth)):
            raise Unusable(f"its entry for {host} has something else than text")
        user, password, identity, registry = words
        if auth:
            user, password = _pair(auth, host)
        found = Secret(user, password, identity, registry)
        return found if found.basic or identity or registry else None


def host_of(key: str) -> str:
    """The host as image names have it, out of a key such as `https://index.docker.io/v1/`."""
    host = key.partition("://")[2] or key
    host = host.partition("/")[0].lower()
    return DOCKER_HUB if host in _HUB else host


def _by_host(said: Mapping[str, Any]) -> dict[str, Any]:
    """The entries by host; where several are for one, that whose key is shortest counts."""
    return {host_of(key): said[key] for key in sorted(said, key=len, reverse=True)}


def _program(name: object) -> str:
    if name and not (isinstance(name, str) and _HELPER.match(name)):
        raise Unusable("it names a credential helper that is no name of a program")
    return str(name)


def _pair(auth: str, host: str) -> tuple[str, str]:
    """User and password; the latter may be "" beside an identity token."""
    try:
        text = b64decode(auth + "=" * (-len(auth) % 4), validate=True).decode().rstrip("\0")
    except (binascii.Error, UnicodeDecodeError):
        raise Unusable(f"the auth of its entry for {host} is not base64 of text") from None
    user, colon, password = text.partition(":")
    if not colon or not text.isprintable():
        raise Unusable(f"the auth of its entry for {host} is not user:password")
    return user, password
