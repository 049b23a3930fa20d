"""What names stand for: refs for trees, registries' references for manifests, pins on refs."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.core.tree import Tree
from cached.kit.locks import KeyedLocks
from cached.store import tables
from cached.store.parts import Parts
from cached.store.records import ManifestRecord, PinnedBy, RefRecord
from cached.store.state import pack


class Naming:
    """One change of a name at a time: first in the index, then in memory. What only got newer follows."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._changing: KeyedLocks[str] = KeyedLocks()

    async def set_ref(self, ref: str, tree: Tree, source: str) -> None:
        """As Store.set_ref."""
        state, index = self._parts.state, self._parts.index
        async with self._changing.hold(ref):
            record = RefRecord(tree.digest, source, self._parts.clock.now())
            before = state.refs.get(ref)
            listing = pack(tree)
            if before is not None and (before.tree, before.source) == (record.tree, source):
                index.later(("ref", ref), tables.put_ref(ref, record))
            else:
                await index.commit(
                    tables.put_tree(tree.digest, listing),
                    tables.put_ref(ref, record),
                    *([tables.forget_tree(before.tree)] if before else []),
                )
            state.know(tree.digest, listing)
            state.point(ref, record)

    async def forget_ref(self, ref: str) -> None:
        """As Store.forget_ref."""
        async with self._changing.hold(ref):
            before = self._parts.state.refs.get(ref)
            if before is not None:
                await self._parts.index.commit(tables.drop_ref(ref), tables.forget_tree(before.tree))
                self._parts.state.forget_ref(ref)

    async def set_manifest(self, record: ManifestRecord) -> None:
        """As Store.set_manifest."""
        state, index = self._parts.state, self._parts.index
        name = f"{record.repository}@{record.reference}"
        async with self._changing.hold(name):
            entry = state.ledger.entries.get(record.digest)
            before = state.manifests.get(record.repository, record.reference)
            if before is not None and replace(before, seen_at=record.seen_at) == record:
                index.later(("manifest", name), tables.put_manifest(record))
            elif state.ledger.has(record.digest):
                await index.commit(tables.put_manifest(record))
            # The blob may have left meanwhile, and its row with all that was said of it.
            if state.ledger.entries.get(record.digest) is not entry or not state.ledger.has(record.digest):
                raise _not_here(record.digest)
            state.manifests.put(record)

    async def forget_manifest(self, repository: str, reference: str) -> None:
        """As Store.forget_manifest."""
        async with self._changing.hold(f"{repository}@{reference}"):
            if self._parts.state.manifests.get(repository, reference) is not None:
                await self._parts.index.commit(tables.drop_manifest(repository, reference))
                self._parts.state.manifests.drop(repository, reference)

    async def pin(self, ref: str, by: PinnedBy) -> None:
        """As Store.pin."""
        if by is PinnedBy.OPERATOR:
            await self._parts.index.commit(tables.put_pin(ref))
        self._parts.state.pin(ref, by)

    async def unpin(self, ref: str, by: PinnedBy) -> None:
        """As Store.unpin."""
        if by is PinnedBy.OPERATOR:
            await self._parts.index.commit(tables.drop_pin(ref))
        self._parts.state.unpin(ref, by)

    def set_catalog_pins(self, refs: Set[str]) -> None:
        """As Store.set_catalog_pins."""
        state = self._parts.state
        before = state.holds.pinned_refs(PinnedBy.CATALOG)
        for ref in refs - before:
            state.pin(ref, PinnedBy.CATALOG)
        for ref in before - refs:
            state.unpin(ref, PinnedBy.CATALOG)


def _not_here(blob: Digest) -> NotFound:
    return NotFound(f"blob {blob} is not complete on this node", hint="ask again; it is fetched anew")
