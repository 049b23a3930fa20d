"""From a target to a tree."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import NotConfigured, NotFound, SourceUnavailable
from cached.core.source import Source, SourceFile
from cached.core.tree import Tree, TreeFile
from cached.engine.catalog import Target
from cached.kit.flights import Flights
from cached.store.store import Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Resolution:
    """A target's tree, and where its files are read.

    files: by blob; empty when the source was not asked. stale: it did not answer, and this tree is the
    one last known.
    """

    target: Target
    tree: Tree
    files: Mapping[Digest, SourceFile]
    stale: bool = False


@dataclass(slots=True)
class _Listing:
    """What one question to a source brings back."""

    files: list[SourceFile] | None = None


class Resolver:
    """Asks sources what a target holds now, one question at a time per target."""

    def __init__(self, store: Store, sources: Mapping[str, Source], clock: Clock, resolve_ttl: float) -> None:
        self._store = store
        self._sources = sources
        self._clock = clock
        self._resolve_ttl = resolve_ttl
        self._listings: Flights[str, _Listing] = Flights()

    def source(self, target: Target) -> Source:
        """The adapter for the target's scheme. Raises NotConfigured when there is none."""
        scheme = target.uri.partition("://")[0]
        if scheme not in self._sources:
            raise NotConfigured(
                f"no source for {scheme}:// (asked for {target.key})",
                hint=f"this daemon reads {', '.join(sorted(self._sources))}",
            )
        return self._sources[scheme]

    def known(self, target: Target) -> Tree | None:
        """The warm tree that may be answered without asking the source, if there is one."""
        if target.pinned_tree:
            return self._demanded(target)
        record = self._store.ref(target.key)
        if record is None or record.source != target.origin or not self._store.is_warm(record.tree):
            return None
        fresh = 0 <= self._clock.now() - record.resolved_at < self._resolve_ttl
        return self._store.tree(record.tree) if target.revision or fresh else None

    def _demanded(self, target: Target) -> Tree | None:
        """The warm tree that the target names by digest, if any ref of that origin resolved to it.

        The digest alone is not enough: it must not open another model's files.
        """
        for record in self._store.refs().values():
            if record.tree == target.pinned_tree and record.source == target.origin:
                return self._store.tree(record.tree) if self._store.is_warm(record.tree) else None
        return None

    async def resolve(self, target: Target) -> Resolution:
        """Ask the source; fall back to the last known tree when it does not answer and that tree is warm.

        Raises what Source.list raises, InvalidRequest for hostile paths, NotFound when the target demands
        another tree than the source holds.
        """
        try:
            files = await self._list(target)
        except SourceUnavailable as error:
            return self._last_known(target, error)
        tree = Tree.of(TreeFile(file.path, file.size, file.blob) for file in files)
        if target.pinned_tree and tree.digest != target.pinned_tree:
            raise NotFound(
                f"{target.uri} holds tree {tree.digest}, not {target.pinned_tree} as {target.key} demands",
                hint="restore the files at the source, or change the revision in the catalog",
            )
        before = self._store.ref(target.key)
        if before is not None and before.tree != tree.digest and before.source == target.origin:
            tell = log.warning if target.revision else log.info
            tell(
                "a model has another tree now",
                extra={"ref": target.key, "tree": tree.digest, "before": before.tree},
            )
        await self._store.set_ref(target.key, tree, target.origin)
        return Resolution(target, tree, {file.blob: file for file in files})

    async def _list(self, target: Target) -> list[SourceFile]:
        source = self.source(target)

        async def ask(listing: _Listing) -> None:
            listing.files = await source.list(target.uri, target.selection)

        async with self._listings.join(target.origin, _Listing, ask) as flight:
            while not await flight.wait(60):
                pass
            if error := flight.outcome():
                raise error
            assert flight.about.files is not None
            return flight.about.files

    def _last_known(self, target: Target, error: SourceUnavailable) -> Resolution:
        record = self._store.ref(target.key)
        if record is None or record.source != target.origin or not self._store.is_warm(record.tree):
            raise error
        tree = self._store.tree(record.tree)
        if tree is None or (target.pinned_tree and tree.digest != target.pinned_tree):
            raise error
        log.warning(
            "source does not answer; the tree last known is used",
            extra={"ref": target.key, "tree": tree.digest, "reason": error.message},
        )
        return Resolution(target, tree, {}, stale=True)
