"""Container images, as the engine and the mirror see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import Denied, NotFound, Unauthenticated
from cached.core.image import ImageRef
from cached.core.progress import Progress
from cached.core.registry import NODE, Found, Passed, Registry
from cached.engine.catalog import Target
from cached.engine.images.access import Access
from cached.engine.images.content import RuntimeBlobs
from cached.engine.images.flights import BlobFlights
from cached.engine.images.journey import ImageJourney
from cached.engine.images.manifests import Manifests, Resolved
from cached.engine.images.offers import ImageOffers
from cached.engine.images.views import BlobReader, ManifestView, Pull
from cached.engine.swarm.swarms import Offer
from cached.engine.travel import Arrived
from cached.engine.views import Resolved as ResolvedView
from cached.engine.views import Unpacking
from cached.kit.guard import forever

_LOOK_EVERY: Final = 10.0
"""Seconds. While images are pulled, blobs come many times a second."""


class Images:
    """Implements `cached.engine.images.views.ImageSource`, and owns what lasts of images."""

    def __init__(
        self,
        registry: Registry,
        access: Access,
        manifests: Manifests,
        flights: BlobFlights,
        journey: ImageJourney,
        content: RuntimeBlobs | None,
        offers: ImageOffers,
    ) -> None:
        self.journey = journey
        self._registry = registry
        self._access = access
        self._manifests = manifests
        self._flights = flights
        self._content = content
        self._offers = offers

    # For the engine.

    @property
    def flight_count(self) -> int:
        return self._flights.count

    def offers(self) -> Iterator[Offer]:
        """The blobs that other nodes may have."""
        return self._offers()

    def go(self, target: Target) -> AsyncGenerator[ResolvedView | Progress | Unpacking | Arrived, None]:
        """See ImageJourney.go."""
        return self.journey.go(target)

    async def probe(self, target: Target) -> None:
        """Ask the image's registry whether this node may have it now; raises what Registry.manifest does."""
        name = ImageRef.parse(target.key).name
        await self._registry.manifest(name.repository, name.reference, NODE)

    async def run(self, look: Callable[[], Awaitable[None]]) -> None:
        """Forever: know what lies here and in the runtime; `look` is called when blobs came or went there."""
        await self._manifests.load()
        async with asyncio.TaskGroup() as group:
            group.create_task(forever("wrong blobs", self._flights.pieces.run))
            if self._content is not None:
                content, changed = self._content, asyncio.Event()
                group.create_task(forever("the runtime's store", lambda: content.follow(changed.set)))
                while True:
                    await changed.wait()
                    changed.clear()
                    await look()
                    await asyncio.sleep(_LOOK_EVERY)

    async def drain(self, grace: float) -> None:
        """Begin nothing more, give what is under way `grace` seconds, then cut it off."""
        self.journey.close()
        await self._flights.settle(grace)
        await self._flights.cut()

    def close(self) -> None:
        self._flights.close()

    # For the mirror.

    def upstream(self, host: str) -> str:
        """See ImageSource.upstream."""
        hosts = self._registry.hosts
        if not host and len(hosts) == 1:
            return next(iter(hosts))
        if host not in hosts:
            raise NotFound(
                f"no images of {host[:100]!r} here" if host else "whose image is this? ns= is missing",
                hint="images.upstreams names the registries that may be asked",
            )
        return host

    async def manifest(self, pull: Pull, reference: str) -> ManifestView:
        """See ImageSource.manifest."""
        return _view(await self._manifests.resolve(pull, reference))

    async def manifest_bytes(self, pull: Pull, reference: str) -> tuple[ManifestView, bytes]:
        """See ImageSource.manifest_bytes."""
        resolved = await self._manifests.resolve(pull, reference)
        data, _ = await self._manifests.read(pull.repository, reference, resolved)
        return _view(resolved), data

    async def blob(self, pull: Pull, digest: Digest) -> int:
        """See ImageSource.blob."""
        _, size = await self._manifests.admit(pull, digest)
        return size

    @asynccontextmanager
    async def read(self, pull: Pull, digest: Digest, size: int) -> AsyncIterator[BlobReader]:
        """See ImageSource.read."""
        reader = self._access.reader(pull)
        try:
            async with self._flights.read(pull.repository, Found(digest, size), reader) as reading:
                yield reading
        except (Unauthenticated, Denied):
            self._access.forget(pull)  # what was proved is over: the next request asks the registry
            raise

    async def passed(self, pull: Pull, path: str, query: Mapping[str, str]) -> Passed:
        """See ImageSource.passed."""
        return await self._registry.passed(pull.repository, path, query, self._access.reader(pull))


def _view(resolved: Resolved) -> ManifestView:
    found = resolved.found
    return ManifestView(found.digest, found.media_type, found.size, resolved.stale)
