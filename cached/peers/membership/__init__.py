"""Who the other nodes are: from a list, from the DNS, or from the Kubernetes API server."""

from __future__ import annotations

import random

from cached.config.settings import Members
from cached.core.clock import Clock
from cached.core.errors import NotConfigured
from cached.peers.membership.address import Address
from cached.peers.membership.port import Membership
from cached.peers.membership.static import StaticMembers

__all__ = ["Membership", "membership_of"]


def membership_of(members: Members, advertise: str, clock: Clock, rng: random.Random) -> Membership | None:
    """What the settings name; None when they name none.

    The library behind it is imported only here. Raises NotConfigured when it is not installed, or for
    settings or a cluster's configuration that cannot be used.
    """
    if members.static:
        return StaticMembers(members.static)
    if members.dns:
        try:
            from cached.peers.membership.dns import DnsMembers
        except ModuleNotFoundError as missing:
            raise _not_installed("peers.members.dns", "dnspython", missing) from None
        return DnsMembers(members.dns, _parsed(advertise), members.refresh, clock, rng)
    if members.endpoint_slices:
        try:
            from cached.peers.membership.slices import SliceMembers
        except ModuleNotFoundError as missing:
            raise _not_installed("peers.members.endpoint_slices", "lightkube", missing) from None
        return SliceMembers(members.endpoint_slices, _parsed(advertise), clock, rng)
    return None


def _not_installed(setting: str, package: str, missing: ModuleNotFoundError) -> NotConfigured:
    return NotConfigured(f"{setting} needs the package {package}: {missing}", hint=f"pip install {package}")


def _parsed(advertise: str) -> Address:
    try:
        return Address.parse(advertise)
    except ValueError as error:
        raise NotConfigured(
            f"peers.advertise: {advertise!r} is no address: {error}",
            hint="give the host and port by which other nodes reach this one",
        ) from None
