"""A registry, something between that fails as told, and the source that reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cached.core.digest import Digest
from cached.core.image import Repository
from cached.core.registry import Found, Reader
from cached.sources.oci import OciRegistry, UpstreamOptions
from cached.telemetry.metrics import Metrics
from tests.servers.faulty import FaultyServer
from tests.servers.images import Image
from tests.sources.oci.clock import TurnedClock

USER, PASSWORD = "ann", "s3cr:t"
HOST = "registry.test"
"""As image names have it; where it is, its endpoint says."""


def docker_config(directory: Path, user: str = USER, password: str = PASSWORD) -> Path:
    """Write one that knows these for HOST."""
    path = directory / "config.json"
    path.write_text(json.dumps({"auths": {HOST: {"username": user, "password": password}}}))
    return path


@dataclass
class House:
    """`server` is the registry as the source sees it. The repository `name` has `image`, tagged v1."""

    server: FaultyServer
    image: Image
    name: str = "a/b"
    options: UpstreamOptions = field(default_factory=UpstreamOptions)
    credentials: Sequence[Path] = ()
    clock: TurnedClock = field(default_factory=TurnedClock)
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        self._made: list[OciRegistry] = []
        self.source = self.another()

    def another(self) -> OciRegistry:
        """A source of the same kind that knows nothing yet."""
        options = UpstreamOptions(
            self.options.endpoint or self.server.endpoint, self.options.ca_file, self.options.token_hosts
        )
        made = OciRegistry(self.metrics, {HOST: options}, self.credentials, clock=self.clock)
        self._made.append(made)
        return made

    async def close(self) -> None:
        for source in self._made:
            await source.close()

    @property
    def repository(self) -> Repository:
        return Repository.of(HOST, self.name)

    @property
    def layer(self) -> Digest:
        return Digest(self.image.layers[0].digest)

    async def tag(self, reader: Reader) -> Found:
        return await self.source.manifest(self.repository, "v1", reader)

    async def blob(self, reader: Reader) -> Found:
        return await self.source.blob(self.repository, self.layer, reader)

    def errors(self) -> Mapping[str, float]:
        """Errors counted so far, by class."""
        return {
            sample.labels["error"]: sample.value
            for family in self.metrics.source_errors.collect()
            for sample in family.samples
            if sample.name.endswith("_total")
        }
