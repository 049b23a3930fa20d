"""How this node learns who the others are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from cached.core.peer import Member

Changed = Callable[[tuple[Member, ...]], None]
"""Told all members there are, sorted, each address once; this node may be among them."""


class Membership(Protocol):
    """Knows who runs a daemon. It does not know who is well: whoever speaks to the members finds out."""

    source: str
    """Where it knows from, for operators: `static`, `dns NAME` or `endpoint slices NAMESPACE/SERVICE`."""

    async def follow(self, changed: Changed) -> None:
        """Call `changed` on this loop once the members are known and whenever they differ; never returns.

        An outage of what is asked keeps the members known last and is logged; nothing is raised for it.
        To be followed once at a time. Cancelling it closes its connections and leaves nothing running.
        """
        ...
