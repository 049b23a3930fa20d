"""The store as the engine sees it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Set
from pathlib import Path
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.core.source import CrcKind
from cached.core.tree import Tree
from cached.kit.pool import Pool
from cached.kit.units import Share
from cached.store import blobs, tables
from cached.store.faults import disk_faults
from cached.store.figures import Figures
from cached.store.filling import Filling
from cached.store.index import Index
from cached.store.keeping import Keeping
from cached.store.layout import Layout
from cached.store.leasing import Leasing
from cached.store.lending import Lending
from cached.store.lock import RootLock
from cached.store.losses import Losses
from cached.store.naming import Naming
from cached.store.pace import Pace
from cached.store.parts import Parts
from cached.store.probe import Probe
from cached.store.records import (
    Lease,
    ManifestRecord,
    PinnedBy,
    RefRecord,
    Reservation,
    ScrubStatus,
    Space,
    Verified,
)
from cached.store.recovery import open_index, recover
from cached.store.room import Room
from cached.store.scrub import Scrub
from cached.store.stage import Stage
from cached.store.verify import Verification
from cached.store.watch import Watch
from cached.telemetry.metrics import Metrics

__all__ = [
    "Lease",
    "ManifestRecord",
    "PinnedBy",
    "RefRecord",
    "Reservation",
    "ScrubStatus",
    "Space",
    "Store",
    "Verified",
]

log = logging.getLogger(__name__)

_FILE_THREADS: Final = 8
_READER_THREADS: Final = 3
_SMALL_THREADS: Final = 2
_MOST_MIN_FREE: Final = 50 << 30


class Store:
    """Blobs and trees on this node's disk, within a budget, never taking away what is held.

    All methods are for the event loop on which it was opened, but those that say so. What they answer from
    is in memory; what they change is in the index before they return, but for leases and uses, which follow
    within milliseconds.
    """

    def __init__(
        self, parts: Parts, lock: RootLock, min_free: int, scrub_rate: int, scrub_interval: float
    ) -> None:
        self.root = parts.layout.root
        self._parts = parts
        self._lock = lock
        self._probe = Probe(parts.layout, parts.metrics)
        self._losses = Losses(parts, self._probe)
        self._room = Room(parts, min_free)
        self._filling = Filling(parts)
        self._lending = Lending(parts, self._filling)
        self._leasing = Leasing(parts)
        self._keeping = Keeping(parts)
        self._naming = Naming(parts)
        self._scrub = Scrub(parts, self._losses, scrub_rate, scrub_interval)
        self._watch = Watch(parts, self._losses)
        self._figures = Figures(parts, min_free, self._probe, self._watch)
        self._figures.show(parts.metrics)

    @classmethod
    async def open(
        cls,
        root: Path,
        *,
        capacity: int | None,
        min_free: int | Share | None,
        metrics: Metrics,
        clock: Clock,
        scrub_rate: int = 32 << 20,
        scrub_interval: float = 7 * 86400.0,
    ) -> Store:
        """Lock `root` and bring index and disk to agree.

        capacity: bytes that the store may take; 90 % of the filesystem when None. min_free: bytes, or
        the share of the filesystem, that stay free whoever fills it; 5 %, at most 50 GiB, when None.
        scrub_rate: bytes per second, 0 for no scrub; scrub_interval: seconds between its rounds. Raises Busy
        when another process has the root, NotConfigured for an index of a later version, DiskFault, NoSpace.
        """
        layout = Layout(root)
        writer = Pool("index", 1)
        try:
            await writer.run(blobs.prepare, layout)
            lock = RootLock.take(layout.lock)
        except BaseException:
            writer.close()
            raise
        try:
            with disk_faults("looking at the filesystem of the data directory", root):
                filesystem = os.statvfs(root)
            size = filesystem.f_blocks * filesystem.f_frsize
            capacity = size * 9 // 10 if capacity is None else capacity
            min_free = min(size // 20, _MOST_MIN_FREE) if min_free is None else min_free
            floor = min_free.of(size) if isinstance(min_free, Share) else min_free
            connection = await writer.run(open_index, layout)
            state = await writer.run(recover, layout, connection, capacity, clock)
        except BaseException:
            writer.close()
            lock.release()
            raise
        pools = (
            Pool("files", _FILE_THREADS),
            Pool("readers", _READER_THREADS),
            Pool("small", _SMALL_THREADS),
            Pool("changes", 1),
        )
        index = Index(layout.index, writer, connection)
        parts = Parts(layout, state, index, *pools, metrics, clock)
        store = cls(parts, lock, floor, scrub_rate, scrub_interval)
        try:
            await store._room.trim()
        except BaseException:
            await store.close()
            raise
        log.info(
            "the store is open",
            extra={"root": str(root), "trees": store.tree_count, "blobs": store.blob_count},
        )
        return store

    async def close(self) -> None:
        """Write down what is to be kept, and let go of the root. No flight is under way."""
        await self._filling.close()
        await self._parts.index.close()
        self._probe.close()
        parts = self._parts
        for pool in (parts.files, parts.readers, parts.small, parts.changes):
            pool.close()
        self._lock.release()

    async def run(self) -> None:
        """Forever: expire leases and keeps, give room back, read blobs again, notice hands from outside."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._room.run())
            group.create_task(self._leasing.run())
            group.create_task(self._keeping.run())
            group.create_task(self._scrub.run())
            group.create_task(self._watch.run())
            group.create_task(self._probe.run())

    # Trees and blobs

    @property
    def on_lost(self) -> Callable[[Digest, str], None] | None:
        """Called with each warm tree that was lost, not evicted, and with the reason."""
        return self._losses.on_lost

    @on_lost.setter
    def on_lost(self, tell: Callable[[Digest, str], None] | None) -> None:
        self._losses.on_lost = tell

    @property
    def on_unleased(self) -> Callable[[Digest], None] | None:
        """Called with each tree whose last lease has ended."""
        return self._leasing.on_unleased

    @on_unleased.setter
    def on_unleased(self, tell: Callable[[Digest], None] | None) -> None:
        self._leasing.on_unleased = tell

    def is_warm(self, tree: Digest) -> bool:
        """Whether the tree is published and complete."""
        return tree in self._parts.state.ledger.trees

    def has_blob(self, blob: Digest) -> bool:
        """Whether the blob is complete here."""
        return self._parts.state.ledger.has(blob)

    def tree(self, digest: Digest) -> Tree | None:
        """The tree's listing, if it is published or a ref points at it."""
        return self._parts.state.tree(digest)

    def tree_path(self, digest: Digest) -> Path:
        """Where the tree stands when it is warm."""
        return self._parts.layout.tree(digest)

    def missing(self, tree: Tree) -> dict[Digest, int]:
        """The tree's blobs that are not complete here, and their sizes in bytes."""
        return self._parts.state.missing(tree)

    def present_bytes(self, tree: Tree) -> int:
        """Bytes of the tree's blobs that are verified on this disk, in part too."""
        missing = self._parts.state.missing(tree)
        complete = sum(size for blob, size in tree.blobs.items() if blob not in missing)
        return complete + sum(min(self._filling.verified_bytes(blob), size) for blob, size in missing.items())

    def open_verified(self, blob: Digest, offset: int, length: int) -> int | None:
        """A descriptor that reads these bytes, all verified, at their place in the blob; close it.

        Of a complete blob, or of one whose stage is open and has every chunk of them; None otherwise. It goes
        on reading after the blob has left this node. For any thread. Raises DiskFault.
        """
        return self._lending.open_verified(blob, offset, length)

    def blob_size(self, blob: Digest) -> int | None:
        """Bytes of the whole blob, complete or with its stage open; None otherwise. For any thread.

        Raises DiskFault.
        """
        return self._lending.size(blob)

    async def blob_hashes(self, blob: Digest) -> bytes:
        """The BLAKE3 of each chunk of a complete blob, in order, 32 bytes each.

        Raises NotFound, DiskFault.
        """
        record = await self._parts.index.read(lambda connection: tables.blob_record(connection, blob))
        if record is None or not self.has_blob(blob):
            raise NotFound(f"blob {blob} is not complete on this node", hint="warm a model that holds it")
        return record.hashes

    async def read_blob(self, blob: Digest, limit: int) -> bytes:
        """All bytes of a small complete blob, such as a manifest, read as they lie here.

        Raises NotFound, Corrupt when they are more than `limit`, DiskFault.
        """
        return await self._lending.read(blob, limit)

    def staged_bytes(self, blob: Digest) -> int:
        """Verified bytes of a blob that is not complete here; 0 when nothing of it is."""
        return self._filling.verified_bytes(blob)

    def touch(self, tree: Digest) -> None:
        """The tree is used now; a tree that is not warm is left as it is."""
        self._leasing.touch(tree)

    def demote(self, tree: Digest) -> None:
        """The tree is evicted before all others until it is used again; one demoted before goes before it.

        A tree that is not warm is left as it is. A lease, a touch and a publish use it.
        """
        self._leasing.demote(tree)

    def last_use(self, tree: Digest) -> float | None:
        """When the tree was last used, as Unix time, for people: eviction goes by the order of uses."""
        known = self._parts.state.known.get(tree)
        return known.last_use if known else None

    # A flight's way

    async def reserve(self, tree: Tree) -> Reservation:
        """Promise room for the tree's missing blobs, and hold those that are here; evict where needed.

        A blob that another flight is fetching already is promised once, for both. Raises TooLarge, or
        NoSpace without having evicted anything in vain; Corrupt when the tree gives a known blob another
        size; DiskFault. Pair with `release`. Cancelled, it may have evicted, and has promised nothing.
        """
        return await self._room.reserve(tree)

    async def stage(
        self, reservation: Reservation, blob: Digest, size: int, crc: tuple[CrcKind, int] | None = None
    ) -> Stage:
        """Open the stage of a missing blob of the reservation, or resume it: its chunks are read again first.

        One stage per blob at a time. The store closes it: at `commit`, or at `release`. Raises NoSpace,
        DiskFault. A cancellation waits until the stage is open.
        """
        return await self._filling.stage(reservation, blob, size, crc)

    async def commit(self, reservation: Reservation, stage: Stage) -> None:
        """Check the whole blob and make it durable; it is complete when this returns.

        Raises Corrupt, and then nothing is left of it; NoSpace, DiskFault. Cancelled, it still ends whole.
        """
        await self._filling.commit(reservation, stage)

    async def write(self, reservation: Reservation, data: bytes) -> None:
        """Complete a missing blob of the reservation from bytes at hand, one chunk at most.

        Its name is their SHA-256. Raises NoSpace, DiskFault.
        """
        await self._filling.write(reservation, data)

    async def publish(self, reservation: Reservation) -> Path:
        """All blobs are here: make the tree stand at its path, durably; it is warm when this returns.

        That counts as a use. Raises Busy when a blob was lost meanwhile, NoSpace, DiskFault. Cancelled, it
        still ends whole.
        """
        return await self._filling.publish(reservation)

    async def release(self, reservation: Reservation, *, keep_stages: bool = True) -> None:
        """End a reservation; idempotent, and must always be called, once nobody writes to its stages.

        Complete blobs stay, with a published tree or without: what none uses is evicted first, oldest first.
        Promises that were not used end. Stages with anything verified in them stay on disk to be resumed,
        counted as reserved, until their room is needed; without `keep_stages` they go at once.
        """
        await self._filling.release(reservation, keep_stages=keep_stages)

    # Refs

    def ref(self, ref: str) -> RefRecord | None:
        """What the ref last resolved to."""
        return self._parts.state.refs.get(ref)

    def refs(self) -> Mapping[str, RefRecord]:
        """All refs that resolved and were not forgotten."""
        return self._parts.state.refs

    async def set_ref(self, ref: str, tree: Tree, source: str) -> None:
        """Remember, durably, that `ref` resolved to `tree` just now. Raises DiskFault, NoSpace."""
        await self._naming.set_ref(ref, tree, source)

    async def forget_ref(self, ref: str) -> None:
        """Forget what `ref` resolved to; an operator's pin on it stays. Raises DiskFault, NoSpace."""
        await self._naming.forget_ref(ref)

    # What registries say of manifests

    def manifest(self, repository: str, reference: str) -> ManifestRecord | None:
        """What the registry last said of the tag or digest, if that manifest is complete here."""
        return self._parts.state.manifests.get(repository, reference)

    def manifests(self) -> list[ManifestRecord]:
        """All of them, in any order."""
        return self._parts.state.manifests.all()

    async def set_manifest(self, record: ManifestRecord) -> None:
        """Remember, durably, what a registry said, until the blob leaves this node.

        A record that only got newer is written behind. Raises NotFound when the blob is not complete here,
        DiskFault, NoSpace.
        """
        await self._naming.set_manifest(record)

    async def forget_manifest(self, repository: str, reference: str) -> None:
        """The registry knows the tag or digest no more. Raises DiskFault, NoSpace."""
        await self._naming.forget_manifest(repository, reference)

    # Holds

    def keep(self, blob: Digest, seconds: float) -> None:
        """Hold a blob that is complete or in flight for so long from now, or longer if it is kept already.

        When that is over it counts as the newest of what no tree uses. A restart ends it, and so do its loss
        and a flight that ends without it. Nothing happens for a blob that is not here.
        """
        self._keeping.keep(blob, seconds)

    def let_go(self, blob: Digest) -> None:
        """Keep a blob no longer; one that is not kept is left as it is."""
        self._keeping.let_go(blob)

    async def lease(self, tree: Digest, ref: str, holder: str, ttl: float) -> Lease:
        """Hold a warm tree for `ttl` seconds, and count it as used. Raises NotFound when it is not warm."""
        return self._leasing.grant(tree, ref, holder, ttl)

    async def renew(self, lease_id: str, ttl: float | None) -> Lease:
        """Hold on for `ttl` seconds from now, or as long as granted before. NotFound when it has expired."""
        return self._leasing.renew(lease_id, ttl)

    async def unlease(self, lease_id: str) -> None:
        """End a lease; one that is gone is no error. Its tree counts as used until now."""
        self._leasing.end(lease_id)

    def leases(self, tree: Digest | None = None) -> list[Lease]:
        """The leases in force, on one tree or on all."""
        holds = self._parts.state.holds
        return list(holds.leases.values()) if tree is None else holds.leases_on(tree)

    async def pin(self, ref: str, by: PinnedBy) -> None:
        """Hold whatever tree `ref` points at, now or later; an operator's pin is durable."""
        await self._naming.pin(ref, by)

    async def unpin(self, ref: str, by: PinnedBy) -> None:
        """Take one's pin away; none there is no error."""
        await self._naming.unpin(ref, by)

    async def set_catalog_pins(self, refs: Set[str]) -> None:
        """The catalog pins these refs and no others."""
        self._naming.set_catalog_pins(refs)

    def pins(self, ref: str) -> Set[PinnedBy]:
        """Who pins `ref`."""
        return self._parts.state.holds.pins(ref)

    async def evict(self, tree: Digest) -> int:
        """Take a warm tree off the disk; returns the bytes given back, without blobs that other trees share.

        Raises InUse, saying what holds it; NotFound when it is not warm; DiskFault.
        """
        return await self._room.evict(tree)

    # Care and figures

    def verify(self, tree: Digest | None) -> AsyncGenerator[Verified, None]:
        """Read one warm tree again, or all that is here; quarantine what is wrong, and tell of it.

        Reports about twice a second, `finished` last. Raises NotFound when the tree is not warm, DiskFault.
        Closing it stops the reading.
        """
        return Verification(self._parts, self._losses, tree).run()

    async def examine(self, blob: Digest) -> None:
        """Read a complete blob again; one that is wrong goes to quarantine, with the trees that hold it.

        Nothing happens for a blob that is not here. Raises DiskFault.
        """
        await self._losses.examine(blob, Pace(0))

    def space(self) -> Space:
        """The room, as it is now."""
        return self._figures.space()

    def check_disk(self) -> None:
        """Raises DiskFault while the disk does not answer: what it holds can be neither read nor added to."""
        self._probe.check()

    def scrub_status(self) -> ScrubStatus:
        """What the scrub did since the store was opened."""
        return self._scrub.status

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know of the store, in sentences."""
        return self._figures.warnings()

    @property
    def blob_count(self) -> int:
        return self._parts.state.ledger.blob_count

    @property
    def tree_count(self) -> int:
        return len(self._parts.state.ledger.trees)

    @property
    def lease_count(self) -> int:
        return len(self._parts.state.holds.leases)
