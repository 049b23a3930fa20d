"""Making room: what eviction decided is done here."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, InUse, NoSpace, NotFound, TooLarge
from cached.core.tree import Tree
from cached.kit.finish import finish
from cached.kit.units import show_bytes
from cached.store import blobs, eviction, quarantine, tables, trees
from cached.store.eviction import Plan
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.store.ledger import Kind, footprint
from cached.store.parts import Parts
from cached.store.records import Reason, Reservation
from cached.store.stage import discard
from cached.store.state import Removal

log = logging.getLogger(__name__)

_ROUNDS: Final = 2
_SETTLE: Final = 1.0
_SETTLE_STEP: Final = 0.02
_TICK: Final = 10.0


@dataclass(frozen=True, slots=True)
class Disk:
    """The filesystem, in bytes: free to this user, and taken by stages already."""

    free: int
    staged: int


@dataclass(frozen=True, slots=True)
class Gap:
    """What lacks for a promise (negative: left over), the room there is, in bytes, and the nearer bound."""

    short: int
    room: int
    reason: Reason


class Room:
    """Promises room, and takes away what is in the way."""

    def __init__(self, parts: Parts, min_free: int) -> None:
        self._parts = parts
        self._min_free = min_free

    async def reserve(self, tree: Tree) -> Reservation:
        """As Store.reserve."""
        ledger = self._parts.state.ledger
        total = sum(map(footprint, tree.blobs.values()))
        if total > ledger.capacity:
            raise TooLarge(
                f"{self._called(tree.digest)} takes {show_bytes(total)}, more than the whole cache may"
                f" ({show_bytes(ledger.capacity)})",
                hint="raise the capacity, or exclude files that are not needed",
            )
        async with self._parts.changing:
            await finish(self._make_room(tree))
            self._parts.state.begin_flight(tree)
        return Reservation(tree)

    async def evict(self, tree: Digest) -> int:
        """As Store.evict."""
        state = self._parts.state
        async with self._parts.changing:
            if tree not in state.ledger.trees:
                raise NotFound(f"tree {tree} is not on this node", hint="cachectl ls shows what is")
            if holds := state.holds.explain(tree):
                raise InUse(
                    f"{self._called(tree)} is held by {holds}",
                    hint="have its readers end, or unpin it, then try again",
                )
            removal = state.take_out(Plan((), (tree,), 0))
            await finish(self._take_away(removal, Reason.OPERATOR))
        return removal.size

    async def trim(self) -> None:
        """Give back what capacity and min_free demand, as far as holds permit. Raises DiskFault, NoSpace.

        Needed when the capacity was lowered, and whenever others fill the filesystem.
        """
        state = self._parts.state
        async with self._parts.changing:
            gap = await self._gap(0)
            short = min(gap.short, state.ledger.evictable)
            if short > 0 and (plan := eviction.plan(state.ledger, short, frozenset())):
                await finish(self._take_away(state.take_out(plan), gap.reason))

    async def run(self) -> None:
        """Forever: trim."""
        while True:
            await asyncio.sleep(_TICK)
            try:
                await self.trim()
            except CachedError as error:
                log.error("cannot give room back", extra={"reason": str(error)})

    async def _make_room(self, tree: Tree) -> None:
        state = self._parts.state
        await self._drop_disagreeing(tree)
        needed = state.ledger.needed(tree.blobs)
        if not needed:
            return
        keep = frozenset(tree.blobs)
        gap = await self._gap(needed)
        for _ in range(_ROUNDS):
            if gap.short <= 0:
                return
            plan = eviction.plan(state.ledger, gap.short, keep)
            if plan is None:
                break
            await self._take_away(state.take_out(plan, keep), gap.reason)
            gap = await self._settled_gap(needed)
        if gap.short > 0:
            raise self._no_space(tree, needed, keep, gap)

    async def _drop_disagreeing(self, tree: Tree) -> None:
        """Stages that were begun for another size are worth nothing; blobs of another size are a lie."""
        ledger = self._parts.state.ledger
        for blob, size in tree.blobs.items():
            entry = ledger.entries.get(blob)
            if entry is None or entry.size == footprint(size):
                continue
            if entry.kind is not Kind.PARTIAL or entry.holds:
                raise Corrupt(
                    f"the source says that blob {blob} has {size} bytes, but the one here has another size",
                    hint="check the file at the source; cachectl verify tells whether the copy here is right",
                )
            removal = self._parts.state.take_out(Plan((blob,), (), 0))
            await self._take_away(removal, Reason.CAPACITY)

    async def _gap(self, needed: int) -> Gap:
        state = self._parts.state
        staged = {blob: state.ledger.entries[blob].size for blob in state.staged}
        disk = await self._parts.changes.run(look, self._parts.layout, staged)
        by_capacity = state.ledger.free
        by_disk = disk.free - max(state.ledger.reserved - disk.staged, 0) - self._min_free
        room = min(by_capacity, by_disk)
        return Gap(needed - room, room, Reason.CAPACITY if room == by_capacity else Reason.MIN_FREE)

    async def _settled_gap(self, needed: int) -> Gap:
        """The gap after a removal. Some filesystems give bytes back a little after the files are gone."""
        gap = await self._gap(needed)
        waited = 0.0
        while gap.short > 0 and gap.reason is Reason.MIN_FREE and waited < _SETTLE:
            await asyncio.sleep(_SETTLE_STEP)
            waited += _SETTLE_STEP
            gap = await self._gap(needed)
        return gap

    async def _take_away(self, removal: Removal, reason: Reason) -> None:
        """Take off the disk and out of the index what is out of the accounts. Raises DiskFault or NoSpace.

        What could not be deleted is put back into the accounts, as belonging to nobody.
        """
        parts = self._parts
        try:
            await parts.changes.run(_delete, parts.layout, removal)
        except CachedError:
            left = await parts.changes.run(_left, parts.layout, removal)
            for name, size, kind in left:
                parts.state.ledger.add(name, size, kind)
                if kind is Kind.PARTIAL:
                    parts.state.staged[Digest(name)] = 0
            raise
        log.info(
            "took away what was not held",
            extra={"reason": reason, "trees": list(removal.trees), "bytes": removal.size},
        )
        parts.metrics.evictions.labels(reason=reason).inc(len(removal.trees))
        parts.metrics.evicted.labels(reason=reason).inc(removal.size)
        gone = [name for name, _, kind in removal.loose if kind is Kind.COMPLETE]
        await parts.index.commit(
            *(tables.unpublish(tree) for tree in removal.trees),
            *(tables.forget_tree(tree) for tree in removal.trees),
            *(tables.drop_blob(name) for name in gone),
        )

    def _called(self, tree: Digest) -> str:
        """What people call a tree: a ref that resolved to it."""
        refs = self._parts.state.refs_of(tree)
        return f"{refs[0]} (tree {tree.short})" if refs else f"tree {tree}"

    def _no_space(self, tree: Tree, needed: int, keep: Iterable[Digest], gap: Gap) -> NoSpace:
        ledger = self._parts.state.ledger
        may_go = eviction.evictable(ledger, keep)
        whose = "capacity" if gap.reason is Reason.CAPACITY else "filesystem, less min_free,"
        promised = ledger.reserved - ledger.dormant
        return NoSpace(
            f"no room for {self._called(tree.digest)}: it needs {show_bytes(needed)} more; the {whose} has"
            f" {show_bytes(max(gap.room, 0))} left, {show_bytes(may_go)} could be evicted,"
            f" {show_bytes(ledger.held)} are held and {show_bytes(promised)} promised",
            needed=needed,
            free=max(gap.room, 0),
            held=ledger.held,
            hint="unpin models or end their readers, or raise the capacity"
            if gap.reason is Reason.CAPACITY
            else "free space on the filesystem of the data directory, or lower min_free",
        )


def look(layout: Layout, staged: Mapping[Digest, int]) -> Disk:
    """How the disk is, with stages of these sizes on it. Raises DiskFault."""
    with disk_faults("looking at the filesystem of the data directory", layout.root):
        filesystem = os.statvfs(layout.root)
        taken = 0
        for blob, size in staged.items():
            with suppress(FileNotFoundError):
                taken += min(os.stat(layout.stage_data(blob)).st_blocks * 512, size)
    return Disk(filesystem.f_bavail * filesystem.f_frsize, taken)


def _delete(layout: Layout, removal: Removal) -> None:
    for tree in removal.trees:
        trees.remove(layout, tree)
    for name, _, kind in removal.loose:
        if kind is Kind.COMPLETE:
            blobs.remove(layout, Digest(name))
        elif kind is Kind.PARTIAL:
            discard(layout, Digest(name))
        else:
            quarantine.remove(layout, name)


def _left(layout: Layout, removal: Removal) -> list[tuple[str, int, Kind]]:
    places = {Kind.COMPLETE: layout.blob, Kind.PARTIAL: layout.stage}
    return [
        (name, size, kind)
        for name, size, kind in removal.loose
        if (places[kind](Digest(name)) if kind in places else layout.quarantined / name).exists()
    ]
