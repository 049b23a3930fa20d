"""What the store's bytes are for: used, reserved, held, and what may go.

All sizes are bytes on disk. A blob is counted once, however many trees use it. Nothing here touches the
disk; `store` and its helpers tell the ledger what they are about to do, or have done.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping
from enum import Enum
from typing import Final

from cached.core.digest import Digest
from cached.store.order import UseOrder

_BLOCK: Final = 4096


def footprint(size: int) -> int:
    """What `size` bytes take on disk: whole blocks of 4 KiB."""
    return -(-size // _BLOCK) * _BLOCK


class Kind(Enum):
    """What lies on disk under a name."""

    PARTIAL = "partial"  # promised: a stage, or not begun
    COMPLETE = "complete"
    QUARANTINED = "quarantined"


class Entry:
    """One blob's account. uses: published trees that it is in.

    holds: those of them that are held, and flights, and one more while it is kept.
    """

    __slots__ = ("holds", "kind", "size", "uses")

    def __init__(self, size: int, kind: Kind) -> None:
        self.size = size
        self.kind = kind
        self.uses = 0
        self.holds = 0


class Share:
    """One published tree's account. use: a number of its own; the lowest goes first."""

    __slots__ = ("blobs", "held", "use")

    def __init__(self, blobs: tuple[Digest, ...], use: int, *, held: bool) -> None:
        self.blobs = blobs
        self.use = use
        self.held = held


class Ledger:
    """Counts every byte of the store exactly.

    capacity: what used and reserved together may reach. used: complete and quarantined blobs. reserved:
    partial blobs, in full. dormant: the part of reserved that no flight works on. held: complete blobs
    that may not go. loose: what neither a tree nor a flight uses nor anybody keeps, oldest first. idle: trees
    that nothing holds, the first to go first. kept: until when on a monotonic clock a blob is kept.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.reserved = 0
        self.dormant = 0
        self.held = 0
        self.blob_count = 0
        self.entries: dict[str, Entry] = {}
        self.trees: dict[Digest, Share] = {}
        self.loose: OrderedDict[str, None] = OrderedDict()
        self.idle = UseOrder()
        self.kept: dict[str, float] = {}

    @property
    def free(self) -> int:
        """What may still be promised; negative when the capacity was lowered under what is here."""
        return self.capacity - self.used - self.reserved

    @property
    def evictable(self) -> int:
        """What would be given back if all went that may go."""
        return self.used - self.held + self.dormant

    def has(self, name: str) -> bool:
        """Whether the blob is complete here."""
        entry = self.entries.get(name)
        return entry is not None and entry.kind is Kind.COMPLETE

    def add(self, name: str, size: int, kind: Kind) -> None:
        """Count what is found on disk, or was put into quarantine, and belongs to nobody yet."""
        entry = self.entries[name] = Entry(footprint(size), kind)
        self._count(entry, +1)
        self.loose[name] = None

    def drop(self, name: str) -> None:
        """A loose thing is gone from the disk, or will be before anything is promised in its place."""
        del self.loose[name]
        self._count(self.entries.pop(name), -1)

    def needed(self, sizes: Mapping[Digest, int]) -> int:
        """What must be promised for blobs of these sizes beside what is here and promised already."""
        return sum(footprint(size) for name, size in sizes.items() if name not in self.entries)

    def reserve(self, sizes: Mapping[Digest, int]) -> None:
        """Hold the blobs that are here or promised, and promise the others."""
        for name, size in sizes.items():
            if name not in self.entries:
                self.add(name, size, Kind.PARTIAL)
            self._hold(name, +1)

    def release(self, names: Iterable[Digest], staged: Container[Digest]) -> None:
        """Undo one `reserve`. A promise that nobody else shares ends, unless a stage of it is on disk."""
        for name in names:
            self._hold(name, -1)
            entry = self.entries[name]
            if entry.kind is Kind.PARTIAL and entry.holds == (name in self.kept):  # no flight is left
                self.let_go(name)
                if name not in staged:
                    self.drop(name)

    def complete(self, name: Digest) -> None:
        """A promised blob was committed."""
        entry = self.entries[name]
        self._count(entry, -1)
        entry.kind = Kind.COMPLETE
        self._count(entry, +1)

    def lose(self, name: Digest) -> None:
        """A complete blob that no tree uses is gone from its place; for flights it must come again."""
        self.let_go(name)
        entry = self.entries[name]
        if not entry.holds:
            self.drop(name)
            return
        self._count(entry, -1)
        # A new account: whoever still reads the old bytes can tell by it.
        again = self.entries[name] = Entry(entry.size, Kind.PARTIAL)
        again.holds = entry.holds
        self._count(again, +1)

    def keep(self, name: Digest, until: float) -> None:
        """Hold a blob that is complete or in flight until then at least; it is the last of the loose after.

        Ends too when the last flight ends without it, and when it is lost. None here: nothing happens.
        """
        entry = self.entries.get(name)
        if entry is None or (entry.kind is Kind.PARTIAL and not entry.holds):
            return
        if name not in self.kept:
            self._hold(name, +1)
        self.kept[name] = max(until, self.kept.get(name, until))

    def let_go(self, name: str) -> None:
        """A blob is kept no longer; one that is not is left as it is."""
        if self.kept.pop(name, None) is not None:
            self._hold(name, -1)

    def publish(self, tree: Digest, blobs: Iterable[Digest], use: int, *, held: bool) -> None:
        """All blobs of `tree` are here and a path shows them."""
        share = self.trees[tree] = Share(tuple(blobs), use, held=held)
        for name in share.blobs:
            entry = self.entries[name]
            entry.uses += 1
            if held:
                self._hold(name, +1)
            self.loose.pop(name, None)
        if not held:
            self.idle.add(use, tree)

    def unpublish(self, tree: Digest) -> tuple[Digest, ...]:
        """Forget that `tree` is published; returns its blobs, of which some may be loose now."""
        share = self.trees.pop(tree)
        if not share.held:
            self.idle.remove(share.use)
        for name in share.blobs:
            self.entries[name].uses -= 1
            if share.held:
                self._hold(name, -1)
            else:
                self._settle(name)
        return share.blobs

    def set_held(self, tree: Digest, held: bool) -> None:
        """A lease or a pin came to hold a published tree, or the last one went."""
        share = self.trees[tree]
        if share.held is held:
            return
        share.held = held
        if held:
            self.idle.remove(share.use)
        else:
            self.idle.add(share.use, tree)
        entries = self.entries
        for name in share.blobs:
            entry = entries[name]
            if held:
                if not entry.holds:
                    self.held += entry.size
                entry.holds += 1
            else:
                entry.holds -= 1
                if not entry.holds:
                    self.held -= entry.size

    def touch(self, tree: Digest, use: int) -> None:
        """A published tree is used or demoted now; `use` is a number that no other has."""
        share = self.trees[tree]
        if not share.held:
            self.idle.remove(share.use)
            self.idle.add(use, tree)
        share.use = use

    def _hold(self, name: str, change: int) -> None:
        entry = self.entries[name]
        self._count(entry, -1)
        entry.holds += change
        self._count(entry, +1)
        self._settle(name)

    def _count(self, entry: Entry, sign: int) -> None:
        size = sign * entry.size
        if entry.kind is Kind.PARTIAL:
            self.reserved += size
            if not entry.holds:
                self.dormant += size
            return
        self.used += size
        if entry.holds:
            self.held += size
        if entry.kind is Kind.COMPLETE:
            self.blob_count += sign

    def _settle(self, name: str) -> None:
        entry = self.entries[name]
        if entry.uses or entry.holds:
            self.loose.pop(name, None)
        else:
            self.loose.setdefault(name)
