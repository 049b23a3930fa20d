"""Which blobs of images other nodes may have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.tree import Tree
from cached.engine.images.content import RuntimeBlobs
from cached.engine.images.flights import tree_of
from cached.engine.images.manifests import Manifests
from cached.engine.swarm.swarms import Offer
from cached.store.store import Store

_SMALL: Final = 1 << 20
"""Bytes. What is smaller is quicker read from its registry than offered for ever, by each to all others."""


class ImageOffers:
    """Blobs of known images in the store, and what lies in the runtime's own, each as a tree by itself.

    Small ones only for a while after they came, in which others that start at the same time want them, too.
    """

    def __init__(
        self, store: Store, manifests: Manifests, content: RuntimeBlobs | None, clock: Clock, recent: float
    ) -> None:
        """recent: seconds for which small blobs are offered."""
        self._store = store
        self._manifests = manifests
        self._content = content
        self._clock = clock
        self._recent = recent
        self._trees: dict[Digest, tuple[Tree, float]] = {}

    def __call__(self) -> Iterator[Offer]:
        now = self._clock.now()
        content = self._content.here.items() if self._content is not None else ()
        kept = self._trees
        self._trees = {}
        for blob, size in self._candidates(content):
            tree, since = kept.get(blob) or (tree_of(blob, size), now)
            self._trees[blob] = tree, since
            if size >= _SMALL or now - since < self._recent:
                yield Offer(tree.digest, since, _constantly(tree))

    def _candidates(self, content: Iterable[tuple[Digest, int]]) -> Iterator[tuple[Digest, int]]:
        seen = set()
        for blob, size in self._manifests.blobs().items():
            if self._store.has_blob(blob):
                seen.add(blob)
                yield blob, size
        for blob, size in content:
            if size >= _SMALL and blob not in seen:
                yield blob, size


def _constantly(tree: Tree) -> Callable[[], Tree]:
    return lambda: tree
