"""Members that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from cached.core.errors import NotConfigured
from cached.core.peer import Member
from cached.peers.membership.address import Address
from cached.peers.membership.port import Changed
from cached.peers.membership.roll import Roll


class StaticMembers:
    """A list that never changes. Implements `Membership`."""

    source = "static"

    def __init__(self, addresses: Iterable[str]) -> None:
        """Raises NotConfigured that names the entry which is no host:port."""
        self._members = [Member(str(_parsed(text))) for text in addresses]

    async def follow(self, changed: Changed) -> None:
        Roll(changed).call(self._members)
        await asyncio.Event().wait()


def _parsed(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise NotConfigured(
            f"peers.members.static: {text!r} is no address of a member: {error}",
            hint="name each node as host:port, as its own peers.advertise does",
        ) from None
