"""The volumes that are there, and the leases by which they hold what they show."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from cached.core.digest import SHA256, Digest
from cached.core.errors import NotFound
from cached.core.ref import Ref
from cached.engine.publish.left import Left, left_behind
from cached.engine.publish.place import Place
from cached.engine.publish.publisher import Publisher
from cached.engine.publish.volume import HOLDER, TTL, Shown
from cached.kit.locks import KeyedLocks
from cached.store.store import Lease, Store
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_CARE: Final = 30.0


class Standing:
    """Volumes by place. Whoever adds or forgets one holds the turn of its place."""

    def __init__(
        self, store: Store, publisher: Publisher, sockets: Path, turns: KeyedLocks[Place], metrics: Metrics
    ) -> None:
        """sockets: the directory of the pods' socket."""
        self._store = store
        self._publisher = publisher
        self._sockets = sockets
        self._turns = turns
        self._metrics = metrics
        self._shown: dict[Place, Shown] = {}

    @property
    def places(self) -> list[Place]:
        return list(self._shown)

    @property
    def pause(self) -> float:
        """Seconds that may pass between two renewals."""
        return min([_CARE, *(shown.ttl / 3 for shown in self._shown.values() if shown.lease)])

    def get(self, place: Place) -> Shown | None:
        return self._shown.get(place)

    def add(self, place: Place, shown: Shown) -> None:
        self._shown[place] = shown
        if shown.tree is None:
            self._metrics.socket_volumes.inc()
        else:
            self._metrics.volumes.labels(model=shown.model).inc()

    async def forget(self, place: Place) -> None:
        """The volume is there no more: give up what it holds. None there is no error."""
        shown = self._shown.pop(place, None)
        if shown is None:
            return
        if shown.tree is None:
            self._metrics.socket_volumes.dec()
        elif any(other.model == shown.model for other in self._shown.values()):
            self._metrics.volumes.labels(model=shown.model).dec()
        else:
            self._metrics.volumes.remove(shown.model)
        await self.give_back(shown)

    async def give_back(self, shown: Shown) -> None:
        """End the lease of what is shown no more, or never was."""
        if shown.lease is not None:
            await self._store.unlease(shown.lease)

    async def renew(self) -> None:
        """Hold on to all that is shown; where a lease was lost, by another one."""
        for place, shown in list(self._shown.items()):
            if shown.tree is None:
                continue
            try:
                if shown.lease is None:
                    raise NotFound("no lease")
                await self._store.renew(shown.lease, None)
            except NotFound:
                lease = await self._lease(shown)
                if self._shown.get(place) is shown:
                    self._shown[place] = _held_by(shown, lease)

    async def find(self, root: Path, driver: str) -> None:
        """Take over what an earlier process left: volumes that are mounted, and their leases.

        Leases of volumes that are there no more end. Raises DiskFault.
        """
        mounts = await self._publisher.mounts()
        for left in await self._publisher.run(left_behind, root, driver, mounts):
            async with self._turns.hold(left.place):
                shown = await self._recognize(left)
                if shown is None:
                    log.warning(
                        "a volume shows what is here no more; its pod needs a restart",
                        extra={"volume": left.id, "path": str(left.place)},
                    )
                else:
                    self.add(left.place, shown)
        if self._shown:
            log.info("volumes were found mounted", extra={"count": len(self._shown)})
        kept = {shown.lease for shown in self._shown.values()}
        for lease in self._store.leases():
            if lease.holder.startswith(HOLDER) and lease.id not in kept:
                await self._store.unlease(lease.id)

    async def _recognize(self, left: Left) -> Shown | None:
        tree = Digest.read(f"{SHA256}:{left.shown}")
        if tree is None or not self._store.is_warm(tree):
            socket = await self._publisher.stands(self._sockets, left.place)
            return Shown(left.id, self._sockets) if socket else None
        source = self._store.tree_path(tree)
        if not await self._publisher.stands(source, left.place):
            return None
        shown = Shown(left.id, source, tree, self._refs(tree, f"{HOLDER}{left.id}"))
        found = [one for one in self._store.leases(tree) if one.holder == shown.holder]
        return _held_by(shown, found[0] if found else await self._lease(shown))

    def _refs(self, tree: Digest, holder: str) -> frozenset[Ref]:
        """By which a volume may have been asked for: its lease tells, else all that mean this tree do."""
        held = {one.ref for one in self._store.leases(tree) if one.holder == holder}
        names = held or {ref for ref, record in self._store.refs().items() if record.tree == tree}
        return frozenset(ref for name in names if (ref := Ref.parse(name)).name)

    async def _lease(self, shown: Shown) -> Lease | None:
        assert shown.tree is not None
        ref = min(map(str, shown.refs), default="")
        try:
            return await self._store.lease(shown.tree, ref, shown.holder, TTL)
        except NotFound:
            if shown.lease is not None:
                log.error(
                    "a volume shows a model that was lost; its pod needs a restart",
                    extra={"volume": shown.id, "tree": shown.tree, "ref": ref},
                )
            return None


def _held_by(shown: Shown, lease: Lease | None) -> Shown:
    return replace(shown, lease=lease.id if lease else None, ttl=lease.ttl if lease else 0.0)
