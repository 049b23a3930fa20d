"""Models laid out as a cache of the Hugging Face hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from cached.core.digest import Digest
from cached.core.errors import Busy, InvalidRequest
from cached.core.progress import Progress
from cached.core.ref import HUB, Ref
from cached.core.tree import Tree, TreeFile
from cached.engine.catalog import Target
from cached.engine.travel import Arrived, Travel
from cached.engine.views import Resolved
from cached.kit.locks import KeyedLocks
from cached.store.store import Store


def hub_directory(name: str) -> str:
    """Where the hub's library keeps the model `name`. Raises InvalidRequest when the hub has no such name."""
    if name.count("/") > 1:
        raise InvalidRequest(
            f"{name} cannot be shown in the view {HUB}: names there are organisation/name",
            hint="call the model so in the catalog, or take the files flat",
        )
    return f"models--{name.replace('/', '--')}"


def hub_tree(tree: Tree, name: str, revision: str) -> tuple[Tree, bytes]:
    """The files of `tree` as the hub's library would have cached them, and the bytes of the refs among them.

    The commit that the refs tell is made of the tree's digest. Files stand in the snapshot itself, where
    the library makes links to a directory of blobs: it asks for nothing else.
    """
    top, commit = hub_directory(name), tree.digest.hex[:40]
    told = commit.encode()
    labels = {"main", revision} if revision and ":" not in revision else {"main"}
    refs = [TreeFile(f"{top}/refs/{label}", len(told), Digest.sha256(told)) for label in labels]
    files = [TreeFile(f"{top}/snapshots/{commit}/{file.path}", file.size, file.blob) for file in tree.files]
    return Tree.of([*refs, *files]), told


class Layouts:
    """Brings targets here in the view that they ask for: one more tree of the same blobs."""

    def __init__(self, store: Store, travel: Travel) -> None:
        self._store = store
        self._travel = travel
        self._turns: KeyedLocks[Digest] = KeyedLocks()

    async def go(self, target: Target) -> AsyncGenerator[Resolved | Progress | Arrived, None]:
        """As Travel.go; for a view, the files come first, under a ref of their own."""
        if not target.view or self._travel.at_hand(target):
            async with aclosing(self._travel.go(target)) as events:
                async for event in events:
                    yield event
            return
        hub_directory(Ref.parse(target.key).name)  # before anything is fetched in vain
        async with aclosing(self._travel.go(target.plain)) as events:
            async for event in events:
                if not isinstance(event, Arrived):
                    yield event
                    continue
                tree = await self._lay_out(target, event.tree)
                yield Arrived(tree, event.stale, event.fetched)
                return

    async def _lay_out(self, target: Target, files: Tree) -> Tree:
        """Publish the view of `files`, and remember it as what the target resolved to."""
        tree, told = hub_tree(files, Ref.parse(target.key).name, target.revision)
        async with self._turns.hold(files.digest):
            if not self._store.is_warm(tree.digest):
                await self._build(tree, told)
            await self._store.set_ref(target.key, tree, target.origin)
        if not self._store.is_warm(tree.digest):
            raise Busy(f"{target.key} lost its room to other models at once", hint="ask again")
        return tree

    async def _build(self, tree: Tree, told: bytes) -> None:
        reservation = await self._store.reserve(tree)
        try:
            if not self._store.has_blob(Digest.sha256(told)):
                await self._store.write(reservation, told)
            await self._store.publish(reservation)
        finally:
            await self._store.release(reservation)
