"""Everything that the store knows, in memory: accounts, holds, refs, manifests and listings.

Decides and remembers; never waits. Whoever changes the state does so on the event loop, and tells the
index of it.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.store.eviction import Plan
from cached.store.holds import Holds
from cached.store.ledger import Kind, Ledger
from cached.store.manifests import Manifests
from cached.store.records import Lease, PinnedBy, RefRecord

_DEMOTED: Final = -(1 << 62)  # what a demotion's number is less than a use's


def pack(tree: Tree) -> bytes:
    """A listing as it is kept, in memory and in the index."""
    return zlib.compress(tree.encoded, 1)


@lru_cache(maxsize=128)
def unpack(listing: bytes) -> Tree:
    """The tree of a packed listing; the few in use stay unpacked."""
    return Tree.decode(zlib.decompress(listing))


@dataclass(slots=True)
class Known:
    """A tree that is published, or that a ref points at. last_use: Unix time, for people only."""

    listing: bytes
    last_use: float | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """What was taken out of the accounts and is now to be taken off the disk."""

    trees: tuple[Digest, ...]
    loose: tuple[tuple[str, int, Kind], ...]

    @property
    def size(self) -> int:
        return sum(size for _, size, _ in self.loose)


class State:
    """The ledger, the holds, and what refs, manifests and trees are known.

    staged: each stage on disk, and the bytes verified in it when it was last opened or closed.
    """

    def __init__(self, capacity: int) -> None:
        self.ledger = Ledger(capacity)
        self.holds = Holds()
        self.refs: dict[str, RefRecord] = {}
        self.manifests = Manifests()
        self.known: dict[Digest, Known] = {}
        self.staged: dict[Digest, int] = {}
        self._pointed: Counter[Digest] = Counter()
        self._last_number = 0

    def next_use(self) -> int:
        """Number a use. The order of eviction is the order of these numbers, whatever clocks say."""
        self._last_number += 1
        return self._last_number

    def take_note(self, use: int) -> None:
        """A use or a demotion was numbered so: later ones come after it."""
        self._last_number = max(self._last_number, use, use - _DEMOTED if use < 0 else 0)

    def tree(self, digest: Digest) -> Tree | None:
        known = self.known.get(digest)
        return unpack(known.listing) if known else None

    def refs_of(self, tree: Digest) -> tuple[str, ...]:
        return tuple(sorted(ref for ref, record in self.refs.items() if record.tree == tree))

    def refs_with(self, blob: Digest) -> tuple[str, ...]:
        """The refs whose trees hold `blob`, warm or not. Looks through all of them: for rare events."""
        found = set()
        for tree, known in self.known.items():
            share = self.ledger.trees.get(tree)
            if blob in (share.blobs if share else unpack(known.listing).blobs):
                found.add(tree)
        return tuple(sorted(ref for ref, record in self.refs.items() if record.tree in found))

    def trees_with(self, blob: Digest) -> list[Digest]:
        """The published trees that hold `blob`. Looks through all of them: for rare events."""
        return [tree for tree, share in self.ledger.trees.items() if blob in share.blobs]

    def missing(self, tree: Tree) -> dict[Digest, int]:
        has = self.ledger.has
        return {blob: size for blob, size in tree.blobs.items() if not has(blob)}

    def know(self, tree: Digest, listing: bytes, last_use: float | None = None) -> None:
        """Remember a listing. It stays while the tree is published or a ref points at it."""
        self.known.setdefault(tree, Known(listing, last_use))

    def point(self, ref: str, record: RefRecord) -> None:
        """`ref` resolved to a tree that is known."""
        before = self.refs.get(ref)
        self.refs[ref] = record
        self._pointed[record.tree] += 1
        self._settle(self.holds.aim(ref, record.tree))
        self._unpoint(before)

    def forget_ref(self, ref: str) -> None:
        """Drop what `ref` resolved to; its pins wait for it to resolve again."""
        before = self.refs.pop(ref, None)
        self._settle(self.holds.aim(ref, None))
        self._unpoint(before)

    def forget(self, tree: Digest) -> None:
        """Drop the listing of a tree that is neither published nor pointed at; the index does alike."""
        if tree not in self.ledger.trees and not self._pointed[tree]:
            del self._pointed[tree]
            self.known.pop(tree, None)

    def publish(self, tree: Digest, blobs: Iterable[Digest], use: int, now: float) -> None:
        """A known tree is warm now."""
        self.known[tree].last_use = now
        self.ledger.publish(tree, blobs, use, held=self.holds.holds(tree))

    def unpublish(self, tree: Digest) -> tuple[Digest, ...]:
        """`tree` is warm no more; returns its blobs, of which some may be loose now."""
        blobs = self.ledger.unpublish(tree)
        self.forget(tree)
        return blobs

    def touch(self, tree: Digest, now: float) -> int:
        """A published tree is used; returns the number of the use."""
        use = self.next_use()
        self.ledger.touch(tree, use)
        self.known[tree].last_use = now
        return use

    def demote(self, tree: Digest) -> int:
        """A published tree goes before those that are used, in the order of demotions; returns its number."""
        number = _DEMOTED + self.next_use()
        self.ledger.touch(tree, number)
        return number

    def lose(self, blob: Digest) -> None:
        """A complete blob that no tree uses is gone from its place."""
        self.ledger.lose(blob)
        self.manifests.forget(blob)

    def grant(self, lease: Lease) -> None:
        self.holds.grant(lease)
        self._settle((lease.tree,))

    def end_lease(self, lease_id: str) -> Lease | None:
        lease = self.holds.end(lease_id)
        if lease is not None:
            self._settle((lease.tree,))
        return lease

    def pin(self, ref: str, by: PinnedBy) -> None:
        self._settle(self.holds.pin(ref, by))

    def unpin(self, ref: str, by: PinnedBy) -> None:
        self._settle(self.holds.unpin(ref, by))

    def begin_flight(self, tree: Tree) -> None:
        self.ledger.reserve(tree.blobs)
        self.holds.begin_flight(tree.digest)
        self._settle((tree.digest,))

    def end_flight(self, tree: Tree) -> None:
        self.ledger.release(tree.blobs, self.staged)
        self.holds.end_flight(tree.digest)
        self._settle((tree.digest,))

    def take_out(self, plan: Plan, keep: Set[Digest] = frozenset()) -> Removal:
        """Carry a plan out on the accounts: from now on nobody finds what goes.

        The blobs that its trees leave unused go too, but for those in `keep`.
        """
        names = list(plan.loose)
        for tree in plan.trees:
            blobs = self.unpublish(tree)
            names += [blob for blob in blobs if blob in self.ledger.loose and blob not in keep]
        loose = []
        for name in names:
            entry = self.ledger.entries[name]
            loose.append((name, entry.size, entry.kind))
            self.ledger.drop(name)
            if entry.kind is Kind.PARTIAL:
                self.staged.pop(Digest(name), None)
            elif entry.kind is Kind.COMPLETE:
                self.manifests.forget(Digest(name))
        return Removal(plan.trees, tuple(loose))

    def _unpoint(self, record: RefRecord | None) -> None:
        if record is not None:
            self._pointed[record.tree] -= 1
            self.forget(record.tree)

    def _settle(self, trees: Iterable[Digest]) -> None:
        for tree in trees:
            if tree in self.ledger.trees:
                self.ledger.set_held(tree, self.holds.holds(tree))
