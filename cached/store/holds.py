"""Who keeps which tree from eviction: leases, pins and flights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from cached.core.digest import Digest
from cached.store.records import Lease, PinnedBy

_GRACE: Final = 30.0
_SHOWN_HOLDERS: Final = 3


def time_left(remaining: float, ttl: float) -> float:
    """Seconds that a lease still has when a new process finds it, `remaining` by the wall clock.

    That clock may have been set meanwhile, and the holder could not renew: so never more than the lease's
    whole time, and never less than half of it or 30 seconds, within which every client renews.
    """
    return max(min(remaining, ttl), ttl / 2, _GRACE)


class Holds:
    """Leases and pins as they stand. A pin is on a ref, and holds whatever tree that points at."""

    def __init__(self) -> None:
        self.leases: dict[str, Lease] = {}
        self._leased: dict[Digest, set[str]] = {}
        self._pins: dict[str, set[PinnedBy]] = {}
        self._targets: dict[str, Digest] = {}
        self._pinned: Counter[Digest] = Counter()
        self._flights: Counter[Digest] = Counter()

    def holds(self, tree: Digest) -> bool:
        """Whether anything keeps `tree` from eviction."""
        return tree in self._leased or tree in self._pinned or tree in self._flights

    def explain(self, tree: Digest) -> str:
        """What holds `tree`, for people; empty when nothing does."""
        found = []
        if ids := self._leased.get(tree):
            holders = sorted({self.leases[one].holder or "somebody" for one in ids})
            more = ", ..." if len(holders) > _SHOWN_HOLDERS else ""
            found.append(f"leases of {', '.join(holders[:_SHOWN_HOLDERS])}{more}")
        found += [
            f"the {by.value}'s pin on {ref}"
            for ref, target in self._targets.items()
            if target == tree
            for by in sorted(self._pins.get(ref, ()), key=lambda by: by.value)
        ]
        if tree in self._flights:
            found.append("a fetch under way")
        return " and ".join(found)

    def grant(self, lease: Lease) -> None:
        """Put a lease in force, or another in the place of the one with its id."""
        self.leases[lease.id] = lease
        self._leased.setdefault(lease.tree, set()).add(lease.id)

    def end(self, lease_id: str) -> Lease | None:
        """End a lease; None when there is no such lease."""
        lease = self.leases.pop(lease_id, None)
        if lease is not None:
            ids = self._leased[lease.tree]
            ids.remove(lease_id)
            if not ids:
                del self._leased[lease.tree]
        return lease

    def expired(self, now: float) -> list[Lease]:
        """The leases whose time is over at `now` on the monotonic clock."""
        return [lease for lease in self.leases.values() if lease.deadline <= now]

    def leases_on(self, tree: Digest) -> list[Lease]:
        return [self.leases[one] for one in self._leased.get(tree, ())]

    def pins(self, ref: str) -> frozenset[PinnedBy]:
        return frozenset(self._pins.get(ref, ()))

    def pinned_refs(self, by: PinnedBy) -> set[str]:
        return {ref for ref, pins in self._pins.items() if by in pins}

    def pin(self, ref: str, by: PinnedBy) -> Collection[Digest]:
        """Pin `ref`; returns the tree that this may hold now."""
        pins = self._pins.setdefault(ref, set())
        if not pins and ref in self._targets:
            self._pinned[self._targets[ref]] += 1
        pins.add(by)
        return self._target(ref)

    def unpin(self, ref: str, by: PinnedBy) -> Collection[Digest]:
        """Take a pin away; returns the tree that this may free."""
        pins = self._pins.get(ref)
        if pins is None or by not in pins:
            return ()
        pins.remove(by)
        if not pins:
            del self._pins[ref]
            if ref in self._targets:
                _less(self._pinned, self._targets[ref])
        return self._target(ref)

    def aim(self, ref: str, tree: Digest | None) -> Iterable[Digest]:
        """`ref` points at `tree` from now on, or at nothing; returns the trees whose hold this may change."""
        before = self._targets.pop(ref, None)
        if tree is not None:
            self._targets[ref] = tree
        if ref in self._pins and before != tree:
            if before is not None:
                _less(self._pinned, before)
            if tree is not None:
                self._pinned[tree] += 1
        return [one for one in (before, tree) if one is not None]

    def begin_flight(self, tree: Digest) -> None:
        self._flights[tree] += 1

    def end_flight(self, tree: Digest) -> None:
        _less(self._flights, tree)

    def _target(self, ref: str) -> Collection[Digest]:
        return (self._targets[ref],) if ref in self._targets else ()


def _less(counter: Counter[Digest], tree: Digest) -> None:
    counter[tree] -= 1
    if not counter[tree]:
        del counter[tree]
