"""Trees that readers on the sockets hold, each at a mount of its own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from cached.core.digest import SHA256, Digest
from cached.core.errors import CachedError
from cached.engine.publish.place import Place
from cached.engine.publish.publisher import Publisher
from cached.kit.locks import KeyedLocks
from cached.kit.mountinfo import covering
from cached.store.store import Store
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_CARE: Final = 60.0


class TreeMounts:
    """Mounts a tree below `directory` when it is asked for, and for as long as there are leases on it.

    What is mounted is looked up, not remembered: a daemon finds its predecessor's mounts again.
    """

    def __init__(self, store: Store, publisher: Publisher, directory: Path, metrics: Metrics) -> None:
        self._store = store
        self._publisher = publisher
        self._directory = directory
        self._turns: KeyedLocks[Digest] = KeyedLocks()
        self._wanted: set[Digest] = set()
        self._standing: set[Digest] = set()
        self._suspects: set[Digest] = set()
        self._some = asyncio.Event()
        self._private = False
        store.on_unleased = self.doubt
        metrics.mounts.set_function(lambda: len(self._standing))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know, in sentences."""
        if not self._private:
            return ()
        return (
            f"{self._directory} is on no shared mount: pods do not see what is mounted below it"
            " (in a container: mountPropagation: Bidirectional; else mount --make-rshared)",
        )

    async def show(self, tree: Digest) -> Path:
        """Where the warm tree stands from now on, while leases on it last; take one before."""
        place = self._place(tree)
        if tree not in self._standing:
            self._wanted.add(tree)
            async with self._turns.hold(tree):
                await self._publisher.prepare(self._directory)
                await self._publisher.publish(self._store.tree_path(tree), place)
                self._standing.add(tree)
        return place.path

    def doubt(self, tree: Digest) -> None:
        """Something happened to the tree: see whether its mount is still right."""
        self._suspects.add(tree)
        self._some.set()

    async def start(self) -> None:
        """Find what is mounted below the directory. Raises DiskFault when that cannot be used."""
        await self._publisher.prepare(self._directory)
        mounts = await self._publisher.mounts()
        here = self._directory.resolve()
        beneath = covering(mounts, str(here))
        self._private = beneath is not None and not beneath.shared
        for mount in mounts:
            point = Path(mount.point)
            if point.parent == here and (tree := Digest.read(f"{SHA256}:{point.name}")) is not None:
                self.doubt(tree)

    async def run(self) -> None:
        """Forever: take away what nobody holds, and put up again what somebody does."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CARE):
                    await self._some.wait()
            self._some.clear()
            suspects, self._suspects = self._suspects or set(self._wanted), set()
            for tree in suspects:
                try:
                    await self._settle(tree)
                except CachedError as error:
                    log.error("a mount is not as it should be", extra={"tree": tree, "reason": str(error)})

    async def _settle(self, tree: Digest) -> None:
        async with self._turns.hold(tree):
            self._standing.discard(tree)
            held = bool(self._store.leases(tree))
            (self._wanted.add if held else self._wanted.discard)(tree)
            if held and self._store.is_warm(tree):
                await self._publisher.publish(self._store.tree_path(tree), self._place(tree))
                self._standing.add(tree)
            else:
                await self._publisher.unpublish(self._place(tree))

    def _place(self, tree: Digest) -> Place:
        return Place(self._directory, PurePosixPath(tree.hex))
