"""Whether the sources of the catalog can be read: asked, not fetched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from cached.core.errors import CachedError, SourceUnavailable
from cached.core.source import Source
from cached.engine.catalog import LiveCatalog, Target
from cached.engine.images.images import Images
from cached.engine.views import SourceView

_PATIENCE: Final = 15.0
"""Seconds, for all sources together."""
_AT_ONCE: Final = 8


class SourceProbes:
    """Asks each source once, whatever number of models come from there."""

    def __init__(
        self, catalog: LiveCatalog, source: Callable[[Target], Source], images: Images | None
    ) -> None:
        """source: the adapter of a model's target."""
        self._catalog = catalog
        self._source = source
        self._images = images

    async def ask(self) -> list[SourceView]:
        """What each of them says, by URI. Whoever leaves ends the questions."""
        at_once = asyncio.Semaphore(_AT_ONCE)
        until = asyncio.get_running_loop().time() + _PATIENCE

        async def one(uri: str, targets: list[Target]) -> SourceView:
            error: CachedError | None = None
            try:
                async with asyncio.timeout_at(until), at_once:
                    await self._probe(targets[0])
            except TimeoutError:
                error = SourceUnavailable(
                    f"{uri} has not answered within {_PATIENCE:g} s",
                    hint="is its network or filesystem well?",
                )
            except CachedError as refused:
                error = refused
            return SourceView(uri, tuple(target.key for target in targets), error)

        images = self._catalog.images() if self._images is not None else []
        async with asyncio.TaskGroup() as group:
            grouped = _by_source([*self._catalog.targets(), *images])
            tasks = [group.create_task(one(uri, targets)) for uri, targets in sorted(grouped.items())]
        return [task.result() for task in tasks]

    async def _probe(self, target: Target) -> None:
        if target.is_image:
            assert self._images is not None
            await self._images.probe(target)
        else:
            await self._source(target).probe(target.uri)


def _by_source(targets: Iterable[Target]) -> dict[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in targets:
        found.setdefault(target.key if target.is_image else target.uri, []).append(target)
    return found
