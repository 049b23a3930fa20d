"""Leases and uses: granted, renewed and counted in memory, written down a few milliseconds later."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.store import tables
from cached.store.parts import Parts
from cached.store.records import Lease

log = logging.getLogger(__name__)

_TICK: Final = 1.0


class Leasing:
    """Puts leases in force and ends them, and orders trees by their use, without waiting for anything.

    on_unleased: told of each tree whose last lease has ended.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.on_unleased: Callable[[Digest], None] | None = None

    def grant(self, tree: Digest, ref: str, holder: str, ttl: float) -> Lease:
        """As Store.lease."""
        if tree not in self._parts.state.ledger.trees:
            raise NotFound(f"tree {tree} is not on this node", hint="acquire it again")
        lease = self._begin(Lease(secrets.token_urlsafe(16), tree, ref, holder, ttl, 0.0, 0.0))
        self.touch(tree)
        return lease

    def renew(self, lease_id: str, ttl: float | None) -> Lease:
        """As Store.renew."""
        lease = self._parts.state.holds.leases.get(lease_id)
        if lease is None or lease.deadline <= self._parts.clock.monotonic():
            raise NotFound("no such lease: it expired or was released", hint="acquire the model again")
        return self._begin(replace(lease, ttl=lease.ttl if ttl is None else ttl))

    def end(self, lease_id: str) -> None:
        """As Store.unlease."""
        lease = self._parts.state.end_lease(lease_id)
        if lease is not None:
            self._parts.index.later(("lease", lease_id), tables.drop_lease(lease_id))
            self.touch(lease.tree)
            if self.on_unleased is not None and not self._parts.state.holds.leases_on(lease.tree):
                self.on_unleased(lease.tree)

    def touch(self, tree: Digest) -> None:
        """As Store.touch."""
        state, now = self._parts.state, self._parts.clock.now()
        if tree in state.ledger.trees:
            use = state.touch(tree, now)
            self._parts.index.later(("tree", tree), tables.touch(tree, use, now))

    def demote(self, tree: Digest) -> None:
        """As Store.demote."""
        state = self._parts.state
        if tree in state.ledger.trees:
            number, last_use = state.demote(tree), state.known[tree].last_use
            self._parts.index.later(("tree", tree), tables.touch(tree, number, last_use))

    def expire(self) -> None:
        """End the leases whose time is over."""
        for lease in self._parts.state.holds.expired(self._parts.clock.monotonic()):
            log.info("a lease expired", extra={"tree": lease.tree, "ref": lease.ref, "holder": lease.holder})
            self.end(lease.id)

    async def run(self) -> None:
        """Forever: let leases expire."""
        while True:
            self.expire()
            await asyncio.sleep(_TICK)

    def _begin(self, lease: Lease) -> Lease:
        """Put `lease` in force from now on, for its ttl."""
        clock = self._parts.clock
        lease = replace(lease, deadline=clock.monotonic() + lease.ttl, expires_at=clock.now() + lease.ttl)
        self._parts.state.grant(lease)
        self._parts.index.later(("lease", lease.id), tables.put_lease(lease))
        return lease
