"""The way from an image's name to all of its blobs on this node, and into its runtime."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import CachedError, Draining, NotConfigured, RuntimeUnavailable
from cached.core.image import ImageName, ImageRef, Platform, Repository
from cached.core.manifest import Index, Manifest
from cached.core.progress import Progress
from cached.core.registry import Found, blob_path
from cached.core.runtime import Login, Runtime
from cached.core.tree import Tree, TreeFile
from cached.engine.catalog import Target
from cached.engine.images.flights import Arrival, BlobFlights
from cached.engine.images.manifests import Manifests, Resolved
from cached.engine.travel import Arrived
from cached.engine.views import Resolved as ResolvedView
from cached.engine.views import Unpacking
from cached.store.store import PinnedBy, Store

log = logging.getLogger(__name__)

_TICK: Final = 0.5
_BLOBS_AT_ONCE: Final = 4
_FIRST_RETRY: Final = 0.5
_LAST_RETRY: Final = 15.0


@dataclass(frozen=True, slots=True)
class Content:
    """What an image is on one platform: its manifests, config and layers, each once."""

    repository: Repository
    blobs: dict[Digest, Found]

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(found.size for found in self.blobs.values())

    def tree(self, kept: Callable[[Digest], bool]) -> Tree:
        """Of the blobs that `kept` takes, and of the manifests in any case."""
        return Tree.of(
            TreeFile(blob_path(blob), found.size, blob)
            for blob, found in self.blobs.items()
            if found.media_type or kept(blob)
        )


@dataclass
class Underway:
    """A journey as others see it: its blobs' flights, and what was here before; sizes in bytes."""

    total: int
    found: int
    arrivals: list[Arrival] = field(default_factory=list)

    @property
    def fetched(self) -> int:
        return sum(each.from_source + each.from_peers for each in self.arrivals)

    @property
    def progress(self) -> Progress:
        parts = [each.progress for each in self.arrivals]
        done = min(self.total, self.found + sum(part.done - part.found for part in parts))
        rate = sum(part.rate for part in parts if part.done < part.total)
        return Progress(
            total=self.total,
            done=done,
            found=self.found,
            from_source=sum(part.from_source for part in parts),
            from_peers=sum(part.from_peers for part in parts),
            rate=rate,
            eta=(self.total - done) / rate if rate > 0 else None,
        )


class ImageJourney:
    """Makes images complete on this node; one blob is fetched once, whoever else wants it.

    Layers that the runtime's own store has are left there. Of what had to be fetched a tree is kept, under
    the image's ref, for as long as the budget permits; what the runtime has unpacked goes first.
    """

    def __init__(
        self,
        store: Store,
        manifests: Manifests,
        flights: BlobFlights,
        runtime: Runtime | None,
        login: Callable[[str], Awaitable[Login | None]],
        platform: Platform,
        clock: Clock,
        rng: random.Random,
        pull_timeout: float,
    ) -> None:
        """login: what the runtime may show a registry. platform: the node's. pull_timeout: in seconds."""
        self._store = store
        self._manifests = manifests
        self._flights = flights
        self._runtime = runtime
        self._login = login
        self._platform = platform
        self._clock = clock
        self._rng = rng
        self._pull_timeout = pull_timeout
        self._underway: dict[str, Underway] = {}
        self._failures: dict[str, str] = {}
        self._unpacked: dict[str, bool] = {}
        self._contents: dict[str, Content] = {}
        self._pinless = False
        self._closed = False

    def progress(self, key: str) -> Progress | None:
        """How far the image under `key` has come, if it is on its way."""
        underway = self._underway.get(key)
        return underway.progress if underway else None

    def failure(self, key: str) -> str:
        """Why the last try to bring the image here failed; empty when it did not."""
        return self._failures.get(key, "")

    def unpacked(self, key: str) -> bool:
        """Whether the runtime had the image when last asked."""
        return self._unpacked.get(key, False)

    def known(self, key: str) -> Content | None:
        """What the image was when its journey last began, since this daemon's start."""
        return self._contents.get(key)

    async def is_whole(self, target: Target) -> bool:
        """Whether nothing of an image that was complete has gone: from here, or from the runtime."""
        if target.pull and self._runtime is not None:
            with suppress(CachedError):  # what cannot be asked is as it was
                self._unpacked[target.key] = await self._runtime.has(ImageRef.parse(target.key).name)
            return self.unpacked(target.key)
        content = self.known(target.key)
        return content is None or all(map(self._flights.is_here, content.blobs))

    def pins_here(self, target: Target) -> bool:
        """Whether the catalog's pin is on what is kept here, rather than on what the runtime unpacked."""
        return target.pin and (not target.pull or self._pinless)

    def close(self) -> None:
        """Begin no more journeys."""
        self._closed = True

    async def go(self, target: Target) -> AsyncGenerator[ResolvedView | Progress | Unpacking | Arrived, None]:
        """Resolved, Progress while bytes are missing, Unpacking while the runtime does, then Arrived."""
        key = target.key
        if self._closed:
            raise Draining(f"{key} is not fetched: the daemon is stopping", hint="try again when it is back")
        if target.pull and self._runtime is None:
            raise NotConfigured(
                f"{key} cannot be unpacked: this daemon knows no container runtime",
                hint="set images.runtime.socket",
            )
        try:
            async for event in self._go(target):
                yield event
        except CachedError as error:
            if target.declared:
                self._failures[key] = str(error)
            raise
        finally:
            self._underway.pop(key, None)
        self._failures.pop(key, None)

    async def _go(
        self, target: Target
    ) -> AsyncGenerator[ResolvedView | Progress | Unpacking | Arrived, None]:
        key, ref = target.key, ImageRef.parse(target.key)
        resolved, content = await self.content(ref)
        unpacked = target.pull and await self._has(ref.name.repository, resolved.found.digest)
        tree = content.tree(
            lambda blob: self._store.has_blob(blob) or not (unpacked or self._flights.is_here(blob))
        )
        await self._store.set_ref(key, tree, target.origin)
        self._contents[key] = content
        underway = self._underway[key] = Underway(content.size, self._present(content))
        if not self._store.is_warm(tree.digest):
            yield ResolvedView(
                key, tree.digest, content.size, len(content.blobs), underway.found, resolved.stale
            )
            filling = asyncio.ensure_future(self._fill(tree, content, underway))
            try:
                while not (await asyncio.wait({filling}, timeout=_TICK))[0]:
                    yield underway.progress
                await filling
            finally:
                filling.cancel()
                with suppress(asyncio.CancelledError, CachedError):
                    await filling
        if target.pull:
            yield Unpacking()
            await self._unpack(target, ref.name)
        yield Arrived(tree, resolved.stale, underway.fetched)
        if target.pull:
            self._give_way(tree)

    async def content(self, ref: ImageRef) -> tuple[Resolved, Content]:
        """What the image is now. Its manifests come here for that; Corrupt when they cannot be read."""
        repository, reference = ref.name.repository, ref.name.reference
        resolved = await self._manifests.resolve_for_node(repository, reference)
        _, manifest = await self._manifests.read(repository, reference, resolved)
        blobs = {resolved.found.digest: resolved.found}
        if isinstance(manifest, Index):
            chosen = manifest.choose(ref.platform or self._platform)
            found = Found(chosen.digest, chosen.size, chosen.media_type)
            blobs[found.digest] = found
            inner = replace(resolved, found=found)
            _, manifest = await self._manifests.read(repository, str(found.digest), inner)
        if isinstance(manifest, Manifest):
            blobs |= {blob: Found(blob, each.size) for blob, each in manifest.blobs.items()}
        return resolved, Content(repository, blobs)

    def _present(self, content: Content) -> int:
        flights, store = self._flights, self._store
        return sum(
            found.size if flights.is_here(blob) else min(store.staged_bytes(blob), found.size)
            for blob, found in content.blobs.items()
        )

    async def _fill(self, tree: Tree, content: Content, underway: Underway) -> None:
        reservation = await self._store.reserve(tree)
        try:
            at_once = asyncio.Semaphore(_BLOBS_AT_ONCE)

            async def bring(found: Found) -> None:
                async with at_once:
                    await self._flights.bring(content.repository, found, underway.arrivals.append)

            wanted = sorted(tree.blobs, key=lambda blob: -content.blobs[blob].size)
            try:
                async with asyncio.TaskGroup() as group:
                    for blob in wanted:
                        group.create_task(bring(content.blobs[blob]))
            except* CachedError as errors:
                raise errors.exceptions[0] from None
            await self._store.publish(reservation)
        finally:
            await self._store.release(reservation)

    # The runtime.

    async def _has(self, repository: Repository, digest: Digest) -> bool:
        assert self._runtime is not None
        try:
            return await self._runtime.has(ImageName(repository, digest=digest))
        except RuntimeUnavailable:  # then its layers are fetched meanwhile
            return False

    async def _unpack(self, target: Target, image: ImageName) -> None:
        """Have the runtime pull; it may be restarted meanwhile, as it is while nodes boot."""
        assert self._runtime is not None
        login = await self._login(image.repository.host)
        until = self._clock.monotonic() + self._pull_timeout
        pause = _FIRST_RETRY
        while True:
            try:
                await self._pull(self._runtime, image, login, until - self._clock.monotonic())
                self._unpacked[target.key] = True
                if target.pin and not await self._runtime.pin(image):
                    log.info("this runtime knows no pins: the image is kept here", extra={"ref": target.key})
                    self._pinless = True
                    await self._store.pin(target.key, PinnedBy.CATALOG)
                return
            except RuntimeUnavailable as error:
                if self._clock.monotonic() + pause > until:
                    raise
                log.warning(
                    "the container runtime does not answer; trying again",
                    extra={"ref": target.key, "reason": error.message, "seconds": round(pause, 1)},
                )
            await asyncio.sleep(pause * self._rng.uniform(0.8, 1.2))
            pause = min(2 * pause, _LAST_RETRY)

    async def _pull(self, runtime: Runtime, image: ImageName, login: Login | None, seconds: float) -> None:
        """Raises RuntimeUnavailable, too, when it takes longer: one that is frozen never answers."""
        try:
            async with asyncio.timeout(seconds):
                await runtime.pull(image, login)
        except TimeoutError:
            raise RuntimeUnavailable(
                f"the container runtime did not unpack {image} within {self._pull_timeout:.0f} s",
                hint="see its log, or raise images.runtime.pull_timeout",
            ) from None

    def _give_way(self, tree: Tree) -> None:
        """The runtime has unpacked it: what is here is for neighbours, for a while, and then goes first."""
        for blob in tree.blobs:
            self._flights.keep(blob)
        self._store.demote(tree.digest)
