"""Who calls, as far as this node believes it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Protocol, TypeAlias
from urllib.parse import unquote

import grpc

from cached.core.errors import Denied
from cached.peers.certificate import bare, carries

Context: TypeAlias = grpc.aio.ServicerContext[bytes, bytes]

_SAN = "x509_subject_alternative_name"


class Vouching(Protocol):
    """What a certificate says of its owner; `cached.peers.identity.Identity` knows."""

    def vouches(self, names: list[str], host: str) -> bool: ...

    def server_credentials(self) -> grpc.ServerCredentials: ...


class Callers:
    """Believes a claimed address, or says why not."""

    def __init__(self, identity: Vouching | None, is_member: Callable[[str], bool]) -> None:
        self._identity = identity
        self._is_member = is_member

    def check(self, context: Context, claimed: str) -> None:
        """Raises Denied when whoever calls may not speak for the member at `claimed`.

        A name that all certificates carry tells a node from a stranger, but not which node: then the
        connection must come from the claimed host, or the certificate carry that host as well.
        """
        if self._identity is None:
            if not self._is_member(claimed):
                raise Denied(
                    f"{claimed} is no member that this node knows of",
                    hint="look at peers.members and peers.advertise on both nodes",
                )
            return
        host, names = bare(claimed.rpartition(":")[0]), _names(context.auth_context())
        if not self._identity.vouches(names, host):
            raise Denied(
                f"the certificate does not speak for {claimed}: it carries {_listed(names)}",
                hint="issue one that carries the host of peers.advertise, or set peers.tls.name",
            )
        if not carries(names, host) and host_of(context) != _address(host):
            raise Denied(
                f"{claimed} is claimed by a caller at {host_of(context)}",
                hint="set peers.advertise to the address that the node's connections come from",
            )


def host_of(context: Context) -> IPv4Address | IPv6Address | None:
    """The IP address at the other end of the connection; None when it is none."""
    _, _, rest = unquote(context.peer()).partition(":")
    return _address(bare(rest.rpartition(":")[0]))


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _names(auth: Any) -> list[str]:
    return [name.decode(errors="replace") for name in auth.get(_SAN, ())]


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) or "no name at all"
