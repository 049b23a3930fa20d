"""What is found wrong on disk leaves the accounts at once, and whoever needs it is told."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import DiskFault
from cached.kit.finish import finish
from cached.store import blobs, tables, trees
from cached.store.audit import read_and_check
from cached.store.faults import disk_faults
from cached.store.layout import Layout
from cached.store.ledger import Entry, Kind
from cached.store.pace import Pace
from cached.store.parts import Parts
from cached.store.probe import Probe
from cached.store.records import Reason

log = logging.getLogger(__name__)

_UNREADABLE: Final = frozenset({errno.EIO, errno.EBADMSG, errno.EUCLEAN, errno.ENODATA})


class Finding(Enum):
    """What reading a blob again brought to light. GONE: it was evicted meanwhile, or had been before."""

    OK = "ok"
    CORRUPT = "corrupt"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Examined:
    """A finding, and for a corrupt blob the refs whose trees held it."""

    finding: Finding
    refs: tuple[str, ...] = ()


class Losses:
    """Examines blobs and trees, and takes what is wrong out of service.

    on_lost: told of each warm tree that is warm no more, and why.
    """

    def __init__(self, parts: Parts, probe: Probe) -> None:
        self._parts = parts
        self._probe = probe
        self.on_lost: Callable[[Digest, str], None] | None = None

    async def examine(self, blob: Digest, pace: Pace) -> Examined:
        """Read a blob again, and put it into quarantine if any chunk is wrong or cannot be read.

        Raises DiskFault when something else keeps it from being read, or a wrong blob from being put away;
        of a wrong one the trees are unpublished all the same.
        """
        parts = self._parts
        entry = parts.state.ledger.entries.get(blob)
        record = await parts.index.read(lambda connection: tables.blob_record(connection, blob))
        if entry is None or record is None or not parts.state.ledger.has(blob):
            return Examined(Finding.GONE)
        try:
            wrong = await pace.run(
                parts.readers,
                read_and_check,
                parts.layout.blob(blob),
                record.size,
                record.chunk_size,
                record.hashes,
                throttle=pace,
            )
            why = f"{len(wrong)} of its chunks are wrong on disk"
        except DiskFault as error:
            if getattr(error.__cause__, "errno", None) not in _UNREADABLE or not await self._probe.look():
                raise  # no blob is to blame for a disk that is gone
            wrong, why = [0], str(error)
        if not wrong:
            return Examined(Finding.OK)
        refs = await self.blob(blob, entry, Reason.CORRUPT, f"blob {blob}: {why}")
        return Examined(Finding.GONE) if refs is None else Examined(Finding.CORRUPT, refs)

    async def blob(self, blob: Digest, entry: Entry, reason: Reason, why: str) -> tuple[str, ...] | None:
        """The blob that `entry` accounts for is lost; returns the refs whose trees held it.

        None when another blob, or none, is in its place by now: nothing was done then.
        """
        state = self._parts.state
        async with self._parts.changing:
            if state.ledger.entries.get(blob) is not entry or not state.ledger.has(blob):
                return None
            hit, refs = state.trees_with(blob), state.refs_with(blob)
            for tree in hit:
                state.unpublish(tree)
            state.lose(blob)
            await finish(self._put_away(hit, blob, reason, why))
        return refs

    async def tree(self, tree: Digest, why: str) -> None:
        """The directory of a published tree is not what it should be."""
        async with self._parts.changing:
            if tree in self._parts.state.ledger.trees:
                self._parts.state.unpublish(tree)
                await finish(self._put_away([tree], None, Reason.LOST, why))

    async def _put_away(self, hit: list[Digest], blob: Digest | None, reason: Reason, why: str) -> None:
        parts = self._parts
        log.error(
            "a part of the store is lost",
            extra={"blob": blob or "", "trees": hit, "reason": reason, "detail": why},
        )
        parts.metrics.evictions.labels(reason=reason).inc(len(hit))
        try:
            # First the rows: whatever becomes of the files, they are not trusted again.
            await parts.index.commit(
                *([] if blob is None else [tables.drop_blob(blob)]),
                *(tables.unpublish(tree) for tree in hit),
                *(tables.forget_tree(tree) for tree in hit),
            )
        finally:
            try:
                kept = await parts.changes.run(_take_off, parts.layout, hit, blob)
                if kept is not None:
                    parts.state.ledger.add(*kept, Kind.QUARANTINED)
            finally:
                for tree in hit:
                    if self.on_lost is not None:
                        self.on_lost(tree, why)


def _take_off(layout: Layout, hit: Iterable[Digest], blob: Digest | None) -> tuple[str, int] | None:
    """Unpublish trees and quarantine a blob; returns its name and size there, if there was one."""
    for tree in hit:
        trees.remove(layout, tree)
    path = None if blob is None else blobs.quarantine(layout, blob)
    if path is None:
        return None
    with disk_faults(f"looking at blob {blob} in quarantine", path):
        return path.name, path.stat().st_size
