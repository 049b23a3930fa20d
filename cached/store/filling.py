"""From a reservation to a published tree: stage, commit, publish, release."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from cached.core.chunks import chunk_size_for
from cached.core.digest import Digest
from cached.core.errors import Busy, CachedError, Corrupt, NoSpace
from cached.core.source import CrcKind
from cached.core.tree import Tree
from cached.kit.finish import finish
from cached.kit.locks import KeyedLocks
from cached.store import blobs, tables, trees
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.store.parts import Parts
from cached.store.records import BlobRecord, Reservation
from cached.store.small import put_whole
from cached.store.stage import Stage
from cached.store.state import pack

log = logging.getLogger(__name__)


class Filling:
    """Owns the open stages. Each step ends whole, even when its caller is cancelled in the middle."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._open: dict[Digest, tuple[Reservation, Stage]] = {}
        self._turns: KeyedLocks[Digest] = KeyedLocks()

    def verified_bytes(self, blob: Digest) -> int:
        """Bytes of the chunks of a blob that is not complete yet."""
        if blob in self._open:
            return self._open[blob][1].verified_bytes
        return self._parts.state.staged.get(blob, 0)

    def open_stage(self, blob: Digest) -> Stage | None:
        """The stage of `blob`, if one is open, or was an instant ago. Thread-safe."""
        found = self._open.get(blob)
        return found[1] if found else None

    async def stage(
        self, reservation: Reservation, blob: Digest, size: int, crc: tuple[CrcKind, int] | None
    ) -> Stage:
        """As Store.stage."""
        return await finish(self._stage(reservation, blob, size, crc))

    async def commit(self, reservation: Reservation, stage: Stage) -> None:
        """As Store.commit."""
        if self._open.get(stage.blob) != (reservation, stage):
            raise ValueError(f"the stage of blob {stage.blob} is not one that this reservation has open")
        await finish(self._commit(stage))

    async def write(self, reservation: Reservation, data: bytes) -> None:
        """As Store.write."""
        stage = await self.stage(reservation, Digest.sha256(data), len(data), None)
        await finish(self._parts.files.run(put_whole, stage, data))
        await self.commit(reservation, stage)

    async def publish(self, reservation: Reservation) -> Path:
        """As Store.publish."""
        async with self._parts.changing:
            return await finish(self._publish(reservation.tree))

    async def release(self, reservation: Reservation, *, keep_stages: bool) -> None:
        """As Store.release."""
        if not reservation.released:
            reservation.released = True
            await finish(self._release(reservation, keep_stages))

    async def close(self) -> None:
        """Let go of every open stage; they can be resumed."""
        for blob, (_, stage) in list(self._open.items()):
            await self._put_away(blob, stage, keep=True)

    async def _stage(
        self, reservation: Reservation, blob: Digest, size: int, crc: tuple[CrcKind, int] | None
    ) -> Stage:
        parts = self._parts
        async with self._turns.hold(blob):
            if blob in self._open:  # left by a flight that failed
                await self._put_away(blob, self._open[blob][1], keep=True)
            try:
                stage = await parts.files.run(
                    Stage.open, parts.layout, blob, size, chunk_size=chunk_size_for(size), crc=crc
                )
            except NoSpace as error:  # the disk knows nothing of holds
                held = parts.state.ledger.held
                raise NoSpace(
                    error.message, needed=error.needed, free=error.free, held=held, hint=error.hint
                ) from error
            self._open[blob] = reservation, stage
            parts.state.staged[blob] = stage.verified_bytes
            return stage

    async def _commit(self, stage: Stage) -> None:
        parts = self._parts
        blob = stage.blob
        async with self._turns.hold(blob):
            try:
                mtime_ns = await parts.files.run(_seal, parts.layout, stage)
            except Corrupt:
                await self._put_away(blob, stage, keep=False)
                raise
            record = BlobRecord(blob, stage.size, stage.chunk_size, stage.chunk_hashes(), mtime_ns)
            try:
                await parts.index.commit(tables.put_blob(record))
            except CachedError:
                await parts.files.run(blobs.remove, parts.layout, blob)
                await self._put_away(blob, stage, keep=False)
                raise
            parts.state.ledger.complete(blob)
            await self._put_away(blob, stage, keep=False)

    async def _publish(self, tree: Tree) -> Path:
        parts, state = self._parts, self._parts.state
        path = parts.layout.tree(tree.digest)
        if tree.digest in state.ledger.trees:
            now = parts.clock.now()
            use = state.touch(tree.digest, now)
            parts.index.later(("tree", tree.digest), tables.touch(tree.digest, use, now))
            return path
        if missing := state.missing(tree):
            raise Busy(
                f"{len(missing)} blobs of tree {tree.digest} were lost while it was fetched",
                hint="ask again; only they are fetched",
            )
        await parts.changes.run(_build, parts.layout, tree)
        listing, now, use = pack(tree), parts.clock.now(), state.next_use()
        try:
            await parts.index.commit(tables.publish(tree.digest, listing, use, now))
        except CachedError:
            await parts.changes.run(trees.remove, parts.layout, tree.digest)
            raise
        state.know(tree.digest, listing)
        state.publish(tree.digest, tree.blobs, use, now)
        return path

    async def _release(self, reservation: Reservation, keep: bool) -> None:
        for blob in [blob for blob, (owner, _) in self._open.items() if owner is reservation]:
            async with self._turns.hold(blob):
                if blob in self._open and self._open[blob][0] is reservation:
                    await self._put_away(blob, self._open[blob][1], keep=keep)
        self._parts.state.end_flight(reservation.tree)

    async def _put_away(self, blob: Digest, stage: Stage, *, keep: bool) -> None:
        """Close a stage that nobody writes to; with `keep` it stays on disk if there is a chunk in it."""
        del self._open[blob]
        state = self._parts.state
        keep = keep and stage.verified_bytes > 0
        try:
            await self._parts.files.run(stage.close if keep else stage.discard)
        except CachedError as error:
            log.warning("a stage could not be put away", extra={"blob": blob, "reason": str(error)})
        if keep:
            state.staged[blob] = stage.verified_bytes
        else:
            del state.staged[blob]


def _seal(layout: Layout, stage: Stage) -> int:
    """Check and commit a stage; returns when its file was last written, in nanoseconds."""
    stage.seal()
    path = layout.blob(stage.blob)
    try:
        blobs.commit(layout, stage)
        with disk_faults(f"committing blob {stage.blob}", path):
            return os.stat(path).st_mtime_ns
    except CachedError:
        blobs.remove(layout, stage.blob)
        raise


def _build(layout: Layout, tree: Tree) -> None:
    """Publish `tree` on disk. What stands at its path already is not known to be right, and goes."""
    trees.remove(layout, tree.digest)
    trees.build(layout, tree)
