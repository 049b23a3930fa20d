"""The one who mounts and unmounts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from cached.engine.publish import binding
from cached.engine.publish.place import Place
from cached.kit.finish import finish
from cached.kit.mountinfo import Mount
from cached.kit.pool import Pool
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_THREADS: Final = 4

P = ParamSpec("P")
T = TypeVar("T")


class Publisher:
    """Shows directories at places, read-only, in threads of its own. Callers see to it that no two of them
    are at one place at once. Each step ends whole, even when its caller is cancelled in the middle.
    """

    def __init__(self, metrics: Metrics, *, noexec: bool) -> None:
        """noexec: nothing that is shown can be executed there."""
        self._metrics = metrics
        self._noexec = noexec
        self._pool = Pool("mounts", _THREADS)

    async def publish(self, source: Path, place: Place) -> None:
        """As `binding.bind`. What it takes away is logged."""
        busy = await finish(self._pool.run(binding.bind, source, place, noexec=self._noexec))
        self._tell(busy, place)

    async def unpublish(self, place: Place) -> None:
        """As `binding.unbind`."""
        self._tell(await finish(self._pool.run(binding.unbind, place)), place)

    async def stands(self, source: Path, place: Place) -> bool:
        """As `binding.is_bound`."""
        return await self._pool.run(binding.is_bound, source, place)

    async def prepare(self, directory: Path) -> None:
        """As `binding.prepare`."""
        await self._pool.run(binding.prepare, directory)

    async def mounts(self) -> list[Mount]:
        """As `binding.mounts`."""
        return await self._pool.run(binding.mounts)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do other work that looks at places, in the same threads."""
        return await self._pool.run(work, *args, **kwargs)

    def close(self) -> None:
        self._pool.close()

    def _tell(self, busy: int, place: Place) -> None:
        if busy:
            log.warning(
                "a mount was busy: it is gone from its path, and ends with its last user",
                extra={"path": str(place), "count": busy},
            )
            self._metrics.lazy_unmounts.inc(busy)
