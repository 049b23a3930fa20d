"""Which member coordinates the swarm of a tree."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from cached.core.digest import Digest


def ranking(tree: Digest, addresses: Iterable[str]) -> list[str]:
    """Members in the order in which they are to coordinate `tree`: the same on every node.

    Highest-random-weight hashing: a member that comes or goes moves no other pair of members.
    """

    def weight(address: str) -> tuple[bytes, str]:
        return hashlib.blake2b(f"{tree}\n{address}".encode(), digest_size=8).digest(), address

    return sorted(set(addresses), key=weight, reverse=True)
