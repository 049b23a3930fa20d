"""The endpoints of a Service, as the Kubernetes API tells them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from cached.core.peer import Member
from cached.peers.membership.address import Address

Slice = Mapping[str, Any]
"""A `discovery.k8s.io/v1` EndpointSlice; the server writes null for an empty list."""

PORT_NAME = "peer"


class Endpoints:
    """All slices of one Service, as far as they are known. Deciding code: no I/O.

    Every endpoint counts but the one that is terminating and no longer serves. In particular those count
    that are not ready yet, whether or not the Service publishes their addresses: nodes that boot together
    must find each other before any of them is ready, or each would read the source for itself. One that
    is terminating and still serves is draining, and has chunks to give.
    """

    def __init__(self, advertise: Address) -> None:
        """Of `advertise` counts the port, for slices without one, and its family when it is an IP address:
        a Service of two families lists every pod twice, and the others know it by one address only."""
        self._port = advertise.port
        self._family = advertise.family
        self._slices: dict[str, tuple[Member, ...]] = {}

    def replace(self, slices: Iterable[Slice]) -> None:
        """These are all there are."""
        self._slices = {_name(found): tuple(self._members(found)) for found in slices}

    def put(self, found: Slice) -> None:
        """This one is new, or differs."""
        self._slices[_name(found)] = tuple(self._members(found))

    def remove(self, gone: Slice) -> None:
        """This one is no more."""
        self._slices.pop(_name(gone), None)

    def members(self) -> Iterator[Member]:
        """Some may come twice: an endpoint that moves between slices is in both for a while."""
        for members in self._slices.values():
            yield from members

    def _members(self, found: Slice) -> Iterator[Member]:
        family = found.get("addressType")
        if family not in ("IPv4", "IPv6") or self._family not in (None, family):
            return
        port = _port(found) or self._port
        for endpoint in found.get("endpoints") or ():
            if _runs(endpoint.get("conditions") or {}):
                # The API gives no meaning to addresses beyond the first.
                address = Address(str(ip_address(endpoint["addresses"][0])), port)
                yield Member(str(address), endpoint.get("zone") or "")


def _name(found: Slice) -> str:
    return str(found["metadata"]["name"])


def _port(found: Slice) -> int | None:
    """That of the port named so, or else the first; None when the slice has none."""
    ports = [port for port in found.get("ports") or () if port.get("port")]
    named = [port for port in ports if port.get("name") == PORT_NAME]
    return int((named or ports)[0]["port"]) if ports else None


def _runs(conditions: Mapping[str, bool | None]) -> bool:
    """An unknown condition means that it serves, and is not terminating."""
    return not (conditions.get("terminating") and conditions.get("serving") is False)
