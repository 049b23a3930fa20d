"""What the tests of the accounting side share: a clock to turn, a store to fill, a look at its accounts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cached.core.digest import Digest
from cached.core.tree import Tree, TreeFile
from cached.kit.units import Share
from cached.store import blobs, trees
from cached.store.index import Index
from cached.store.layout import Layout
from cached.store.ledger import Kind, footprint
from cached.store.stage import Stage
from cached.store.store import Reservation, Store
from cached.telemetry.metrics import Metrics

from .disk import put

MIB = 1 << 20


@dataclass
class TurnedClock:
    """Time stands still until a test turns it."""

    wall: float = 1_800_000_000.0
    since_boot: float = 1_000.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.since_boot

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.since_boot += seconds

    def set_by(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += seconds


@asynccontextmanager
async def store_at(
    root: Path,
    *,
    capacity: int | None = 64 * MIB,
    min_free: int | Share | None = 0,
    clock: TurnedClock | None = None,
    metrics: Metrics | None = None,
    scrub_rate: int = 0,
    scrub_interval: float = 3600.0,
) -> AsyncIterator[Store]:
    store = await Store.open(
        root,
        capacity=capacity,
        min_free=min_free,
        metrics=metrics or Metrics(),
        clock=clock or TurnedClock(),
        scrub_rate=scrub_rate,
        scrub_interval=scrub_interval,
    )
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def running(store: Store) -> AsyncIterator[None]:
    """The store's forever-tasks are at work."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(store.run())
        try:
            yield
        finally:
            task.cancel()


async def until(holds: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until `holds` does; it must within `seconds`."""
    for _ in range(int(seconds / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    assert holds()


def tree_of(contents: Mapping[str, bytes]) -> Tree:
    return Tree.of(TreeFile(path, len(data), Digest.sha256(data)) for path, data in contents.items())


async def fill(store: Store, reservation: Reservation, data: bytes) -> Stage:
    """A stage with all of `data` in it, not committed yet."""
    stage = await store.stage(reservation, Digest.sha256(data), len(data))
    await asyncio.to_thread(put, stage, data)
    return stage


async def bring(store: Store, contents: Mapping[str, bytes], ref: str = "model") -> Tree:
    """All that a flight does, with the source's part left out."""
    tree = tree_of(contents)
    await store.set_ref(ref, tree, "file:///somewhere")
    reservation = await store.reserve(tree)
    try:
        missing = store.missing(tree)
        for data in {Digest.sha256(data): data for data in contents.values()}.values():
            if Digest.sha256(data) in missing:
                await store.commit(reservation, await fill(store, reservation, data))
        await store.publish(reservation)
    finally:
        await store.release(reservation)
    return tree


def bytes_on_disk(root: Path) -> tuple[int, int]:
    """What the ledger must say of the store at `root`: bytes used, and bytes reserved by stages."""
    layout = Layout(root)
    complete = [size for _, size in blobs.scan(layout)]
    quarantined = [path.stat().st_size for path in layout.quarantined.iterdir()]
    stages = [partial.size for partial in blobs.stages(layout)]
    return sum(map(footprint, complete + quarantined)), sum(map(footprint, stages))


def assert_accounts_equal_the_disk(store: Store) -> None:
    """Ledger, index and disk say the same of every byte. No flight is under way."""
    layout, ledger = Layout(store.root), store._parts.state.ledger
    space = store.space()
    assert (space.used, space.reserved) == bytes_on_disk(store.root)
    assert space.used + space.reserved <= space.capacity
    complete = {name: entry.size for name, entry in ledger.entries.items() if entry.kind is Kind.COMPLETE}
    assert complete == {blob: footprint(size) for blob, size in blobs.scan(layout)}
    assert set(ledger.trees) == set(trees.scan(layout))
    for digest in ledger.trees:
        tree = store.tree(digest)
        assert tree is not None
        assert trees.check(layout, tree)
        assert not store.missing(tree)
    assert rows_of(store._parts.index, "SELECT blob FROM blobs") == set(complete)
    assert rows_of(store._parts.index, "SELECT tree FROM trees WHERE published") == set(ledger.trees)
    said = {f"{record.reference} {record.digest}" for record in store.manifests()}
    assert rows_of(store._parts.index, "SELECT reference || ' ' || digest FROM manifests") == said
    assert all(store.has_blob(record.digest) for record in store.manifests())


def rows_of(index: Index, query: str) -> set[str]:
    """The first column of what the query finds in an index that is open, and so is nobody else's."""
    found = index._pool.executor.submit(lambda: index._connection.execute(query).fetchall())
    return {row[0] for row in found.result()}
