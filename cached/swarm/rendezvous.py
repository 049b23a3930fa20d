"""Which member is the one for a thing: without a vote, the same on every node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cached.core.digest import Digest


def weight(thing: str, address: str) -> tuple[bytes, str]:
    """How much `thing` is the member's; the same on every node."""
    return hashlib.blake2b(f"{thing}\n{address}".encode(), digest_size=8).digest(), address


def ranking(tree: Digest, addresses: Iterable[str]) -> list[str]:
    """Members in the order in which they are to coordinate `tree`: the same on every node.

    Highest-random-weight hashing: a member that comes or goes moves no other pair of members.
    """
    return sorted(set(addresses), key=lambda address: weight(tree, address), reverse=True)
