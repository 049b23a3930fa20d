"""Making index and disk tell the same, whatever ended the last process. Blocks; nothing else runs yet."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import zlib
from collections import Counter, OrderedDict
from contextlib import suppress
from dataclasses import replace

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import NotConfigured
from cached.kit.collection import collection_paused
from cached.store import blobs, quarantine, schema, tables, trees
from cached.store.faults import disk_faults
from cached.store.holds import time_left
from cached.store.index import translated
from cached.store.layout import Layout
from cached.store.ledger import Kind
from cached.store.records import BlobRecord, Lease, PinnedBy
from cached.store.schema import StrangeIndex, UnsoundIndex
from cached.store.stage import discard
from cached.store.state import State
from cached.store.tables import Statement

log = logging.getLogger(__name__)


def open_index(layout: Layout) -> sqlite3.Connection:
    """Open the index; a damaged one goes into quarantine and an empty one takes its place.

    Without its index the store cannot vouch for its blobs: `recover` then removes them, and they are
    fetched again as they are asked for. Raises DiskFault, NoSpace, or NotConfigured for an index of
    a later version.
    """
    try:
        with disk_faults("opening the index", layout.root):
            try:
                return schema.connect(layout.index)
            except UnsoundIndex as error:
                name = quarantine.take_index(layout)
                log.error(
                    "the index is damaged; the store begins anew without it",
                    extra={"quarantined": name, "reason": str(error)},
                )
                return schema.connect(layout.index)
    except StrangeIndex as error:
        raise NotConfigured(
            f"the index {layout.index} was written by a later version of cached: {error}",
            hint="run that version, or remove the data directory to begin anew",
        ) from error
    except sqlite3.Error as error:
        raise translated(error, layout.index) from error


def recover(layout: Layout, connection: sqlite3.Connection, capacity: int, clock: Clock) -> State:
    """What the store holds, with index and disk made to agree. Raises DiskFault or NoSpace.

    A blob counts when it has its row and its file has the right size, a tree when it has its row, its
    directory and all its blobs. All else is taken away: what was being committed, published or evicted
    when the process died. Two things are saved. A blob that came into place just before its row was
    written is adopted with its journal, and a stage stays, to be resumed.
    """
    try:
        with disk_faults("recovering the store", layout.root), collection_paused():
            return _Recovery(layout, connection, State(capacity), clock).run()
    except sqlite3.Error as error:
        raise translated(error, layout.index) from error


class _Recovery:
    def __init__(self, layout: Layout, connection: sqlite3.Connection, state: State, clock: Clock) -> None:
        self._layout = layout
        self._connection = connection
        self._state = state
        self._clock = clock
        self._statements: list[Statement] = []
        self._mended: Counter[str] = Counter()

    def run(self) -> State:
        trees.remove_debris(self._layout)
        names = self._blobs()
        self._manifests(names)
        self._trees(names)
        self._refs_and_holds()
        if self._statements:
            tables.apply(self._connection, self._statements, durable=True)
        self._stages()
        for thing, size in quarantine.scan(self._layout):
            self._state.ledger.add(thing, size, Kind.QUARANTINED)
        # Every blob was loose until its tree was found: give that memory back.
        self._state.ledger.loose = OrderedDict(self._state.ledger.loose)
        if self._mended:
            log.warning("index and disk did not agree; they do now", extra=dict(self._mended))
        return self._state

    def _blobs(self) -> dict[str, Digest]:
        """Count the blobs that have both row and file; returns the one object that stands for each name."""
        on_disk = dict(blobs.scan(self._layout))
        names: dict[str, Digest] = {name: name for name in on_disk}
        for text, size in tables.blob_sizes(self._connection):
            name = names.get(text)
            found = on_disk.pop(name) if name is not None else None
            if name is not None and found == size:
                self._state.ledger.add(name, size, Kind.COMPLETE)
            else:
                self._drop_blob(Digest(text), found)
                names.pop(text, None)
        for name, size in on_disk.items():
            if self._adopt(name):
                self._state.ledger.add(name, size, Kind.COMPLETE)
            else:
                blobs.remove(self._layout, name)
                del names[name]
                self._mended["blobs_without_row"] += 1
        return names

    def _drop_blob(self, name: Digest, found: int | None) -> None:
        self._statements.append(tables.drop_blob(name))
        self._mended["blobs_without_file" if found is None else "blobs_of_wrong_size"] += 1
        if found is not None:
            log.error(
                "a blob has the wrong size; it goes into quarantine", extra={"blob": name, "bytes": found}
            )
            blobs.quarantine(self._layout, name)

    def _adopt(self, name: Digest) -> bool:
        complete = blobs.adoptable(self._layout, name)
        if complete is None:
            return False
        mtime_ns = os.stat(self._layout.blob(name)).st_mtime_ns
        record = BlobRecord(name, complete.size, complete.chunk_size, complete.hashes, mtime_ns)
        self._statements.append(tables.put_blob(record))
        self._mended["blobs_adopted"] += 1
        return True

    def _manifests(self, names: dict[str, Digest]) -> None:
        """Those whose blobs are here; the rows of others go with the rows of their blobs."""
        for record in tables.all_manifests(self._connection):
            if blob := names.get(record.digest):
                self._state.manifests.put(replace(record, digest=blob))

    def _trees(self, names: dict[str, Digest]) -> None:
        state = self._state
        on_disk = set(trees.scan(self._layout))
        for text, published, use, last_use, listing in tables.all_trees(self._connection):
            tree = Digest(text)
            state.take_note(use)
            state.know(tree, listing, last_use)
            if not published:
                continue
            content = [names.get(blob) for _, _, blob in json.loads(zlib.decompress(listing))]
            complete = dict.fromkeys(name for name in content if name is not None)
            if tree in on_disk and None not in content:
                on_disk.remove(tree)
                state.ledger.publish(tree, complete, use, held=False)
            else:
                self._statements.append(tables.unpublish(tree))
                self._mended["trees_incomplete"] += 1
        for tree in on_disk:
            trees.remove(self._layout, tree)
            self._mended["trees_without_row"] += 1

    def _refs_and_holds(self) -> None:
        state = self._state
        for ref, record in tables.all_refs(self._connection):
            state.point(ref, record)
        for tree in state.known.keys() - state.ledger.trees.keys():
            state.forget(tree)
            if tree not in state.known:
                self._statements.append(tables.forget_tree(tree))
        for ref in tables.all_pins(self._connection):
            state.pin(ref, PinnedBy.OPERATOR)
        now, monotonic = self._clock.now(), self._clock.monotonic()
        for lease_id, text, ref, holder, ttl, expires_at in tables.all_leases(self._connection):
            left = time_left(expires_at - now, ttl)
            state.grant(Lease(lease_id, Digest(text), ref, holder, ttl, monotonic + left, now + left))

    def _stages(self) -> None:
        """Count the stages that can be resumed, oldest first; the others go, adopted blobs' journals too."""
        aged = []
        for partial in blobs.stages(self._layout):
            if self._state.ledger.has(partial.blob) or not partial.journalled:
                discard(self._layout, partial.blob)
                continue
            written = 0.0
            with suppress(FileNotFoundError):
                written = os.stat(self._layout.stage_journal(partial.blob)).st_mtime
            aged.append((written, partial.blob, partial))
        for _, blob, partial in sorted(aged, key=lambda one: one[0]):
            self._state.ledger.add(blob, partial.size, Kind.PARTIAL)
            self._state.staged[blob] = partial.journalled
