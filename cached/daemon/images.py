"""The parts that deal with container images, put together."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cached.config import settings as config
from cached.core.clock import Clock
from cached.core.image import Platform
from cached.engine.fetch import Fetcher
from cached.engine.images.access import Access
from cached.engine.images.content import RuntimeBlobs
from cached.engine.images.flights import BlobFlights
from cached.engine.images.images import Images
from cached.engine.images.journey import ImageJourney
from cached.engine.images.manifests import Manifests
from cached.engine.images.offers import ImageOffers
from cached.runtime.containerd import Containerd
from cached.runtime.content import ContainerdContent
from cached.runtime.vouch import Voucher
from cached.serve.mirror.options import MirrorOptions
from cached.serve.mirror.server import MirrorServer
from cached.sources.oci import OciRegistry, UpstreamOptions
from cached.store.store import Store
from cached.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class ImageParts:
    """What images take beside the engine. runtime_blobs: of the runtime's own store, for other nodes, too."""

    runtime_blobs: RuntimeBlobs | None
    _settings: config.Images
    _registry: OciRegistry
    _runtime: Containerd | None
    _content: ContainerdContent | None
    _voucher: Voucher
    _store: Store
    _metrics: Metrics
    _clock: Clock
    _rng: random.Random

    def images(self, fetcher: Fetcher) -> Images:
        """The use cases, with blobs fetched by `fetcher`."""
        settings, store, clock = self._settings, self._store, self._clock
        access = Access(
            {host: each.trusted for host, each in settings.upstreams.items()}, settings.proof_ttl, clock
        )
        flights = BlobFlights(
            store,
            fetcher,
            self._registry,
            self.runtime_blobs,
            clock,
            grace=settings.grace,
            share=settings.share,
        )
        manifests = Manifests(
            store, self._registry, access, flights, clock, self._metrics, settings.max_stale
        )
        journey = ImageJourney(
            store,
            manifests,
            flights,
            self._runtime,
            self._registry.login,
            Platform.of_machine(os.uname().machine),
            clock,
            self._rng,
            settings.runtime.pull_timeout,
        )
        offers = ImageOffers(store, manifests, self.runtime_blobs, clock, settings.grace)
        return Images(self._registry, access, manifests, flights, journey, self.runtime_blobs, offers)

    def mirror(self, images: Images) -> MirrorServer | None:
        """Where the runtime finds images; None when it is off."""
        if self._settings.mirror is None:
            return None
        return MirrorServer(self._settings.mirror, images, self._metrics, MirrorOptions())

    @property
    def ca_files(self) -> Mapping[str, Path]:
        """Bundles of CAs of upstreams that have their own, by `host:port`."""
        return self._registry.ca_files

    async def close(self) -> None:
        await self._registry.close()
        if self._runtime is not None:
            await self._runtime.close()
        if self._content is not None:
            self._content.close()
        self._voucher.close()


def image_parts_of(
    settings: config.Images,
    ca_file: Path | None,
    store: Store,
    metrics: Metrics,
    clock: Clock,
    rng: random.Random,
) -> ImageParts:
    """What `settings` describe; nothing is asked and nothing listens yet. Raises NotConfigured."""
    upstreams = {
        host: UpstreamOptions(each.endpoint, each.ca_file, each.token_hosts)
        for host, each in settings.upstreams.items()
    }
    registry = OciRegistry(metrics, upstreams, settings.credentials, ca_file=ca_file, clock=clock)
    runtime, voucher = settings.runtime, Voucher()
    content = ContainerdContent(runtime.root) if runtime.root else None
    return ImageParts(
        RuntimeBlobs(content, voucher.vouch) if content else None,
        settings,
        registry,
        Containerd(runtime.socket) if runtime.socket else None,
        content,
        voucher,
        store,
        metrics,
        clock,
        rng,
    )
