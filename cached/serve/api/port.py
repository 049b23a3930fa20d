"""What the face asks of the engine."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from cached.engine.views import (
    AcquireEvent,
    ArtifactView,
    DescribeView,
    LeaseView,
    PeersView,
    ReadinessView,
    SourceView,
    StatusView,
    VerifyEvent,
    WarmEvent,
)


class Engine(Protocol):
    """The use cases. Every method raises errors of `cached.core.errors` and nothing else on purpose.

    Whoever closes a generator, or is cancelled, leaves: the work itself belongs to the engine. Times to
    live are in seconds; None asks for the engine's own.
    """

    def acquire(self, ref: str, *, ttl: float | None, holder: str) -> AsyncGenerator[AcquireEvent, None]:
        """Resolved, progress and at last Ready; Ready alone when the tree is here."""
        ...

    async def renew(self, lease_id: str, ttl: float | None) -> LeaseView: ...

    async def release(self, lease_id: str) -> None: ...

    async def describe(self, ref: str) -> DescribeView: ...

    def warm(
        self, refs: Sequence[str], *, everything: bool, wait: bool, pull: bool
    ) -> AsyncGenerator[tuple[str, WarmEvent], None]:
        """Events of several refs, mixed; one ref's error is an event. With `pull` the container runtime
        unpacks the images among them."""
        ...

    async def list(self, *, images: bool = False) -> Sequence[ArtifactView]:
        """All models, or all images, in any order."""
        ...

    async def evict(self, ref: str) -> int:
        """Bytes given back to the disk."""
        ...

    async def pin(self, ref: str) -> ArtifactView: ...

    async def unpin(self, ref: str) -> ArtifactView: ...

    async def status(self) -> StatusView: ...

    def peers(self) -> PeersView:
        """The other members, in any order; `address` is empty without peers."""
        ...

    def readiness(self) -> ReadinessView:
        """Whether what the catalog wants warm from the start is warm."""
        ...

    async def check_sources(self) -> Sequence[SourceView]:
        """All sources of the catalog, in any order."""
        ...

    def verify(self, ref: str) -> AsyncGenerator[VerifyEvent, None]:
        """One model, or the whole store when `ref` is empty."""
        ...
