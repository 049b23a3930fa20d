"""Reading again at once, because somebody asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import NotFound
from cached.store import tables, trees
from cached.store.losses import Finding, Losses
from cached.store.pace import Pace
from cached.store.parts import Parts
from cached.store.records import Verified

_TICK: Final = 0.5

_Found = tuple[Digest, tuple[str, ...]]


class Verification:
    """One verification: of one published tree, or of all that is here."""

    def __init__(self, parts: Parts, losses: Losses, tree: Digest | None) -> None:
        self._parts = parts
        self._losses = losses
        self._tree = tree
        self._pace = Pace(0)
        self._found: list[_Found] = []

    async def run(self) -> AsyncGenerator[Verified, None]:
        """As Store.verify."""
        work = await self._work()
        total = sum(size for _, size in work)
        reading = self._reading = asyncio.ensure_future(self._read([blob for blob, _ in work]))
        try:
            while not reading.done():
                await asyncio.wait({reading}, timeout=_TICK)
                yield Verified(min(self._pace.done, total), total, self._news())
            reading.result()
            yield Verified(total, total, self._news(), finished=True)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.exception()

    async def _work(self) -> Sequence[tuple[Digest, int]]:
        state = self._parts.state
        if self._tree is None:
            rows = await self._parts.index.read(lambda connection: list(tables.blob_sizes(connection)))
            return [(Digest(text), size) for text, size in rows]
        tree = state.tree(self._tree)
        if tree is None or self._tree not in state.ledger.trees:
            raise NotFound(f"tree {self._tree} is not on this node", hint="acquire or warm it first")
        return list(tree.blobs.items())

    async def _read(self, blobs: list[Digest]) -> None:
        state = self._parts.state
        for blob in blobs:
            examined = await self._losses.examine(blob, self._pace)
            if examined.finding is Finding.CORRUPT:
                self._found.append((blob, examined.refs))
        for digest in [self._tree] if self._tree else list(state.ledger.trees):
            await check_tree(self._parts, self._losses, digest)

    def _news(self) -> tuple[_Found, ...]:
        news, self._found = tuple(self._found), []
        return news


async def check_tree(parts: Parts, losses: Losses, digest: Digest) -> None:
    """See whether a published tree still shows its blobs; unpublish it if not. Raises DiskFault."""
    tree = parts.state.tree(digest)
    if digest not in parts.state.ledger.trees or tree is None:
        return
    if not await parts.readers.run(trees.check, parts.layout, tree):
        await losses.tree(digest, f"files of tree {digest} are missing from its directory, or are others")
