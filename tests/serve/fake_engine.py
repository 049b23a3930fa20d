"""An engine that does as it is told, behind the real servers."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from cached.core.digest import Digest
from cached.core.errors import Denied, InUse, NotFound
from cached.core.progress import Progress
from cached.core.tree import TreeFile
from cached.engine.views import (
    Accepted,
    AcquireEvent,
    ArtifactView,
    CatalogView,
    CorruptBlob,
    DescribeView,
    FileView,
    LeaseView,
    PeerState,
    PeersView,
    PeerView,
    ReadinessView,
    Ready,
    Resolved,
    ScrubView,
    SourceView,
    SpaceView,
    State,
    StatusView,
    SwarmView,
    Unpacking,
    VerifyEvent,
    Warmed,
    WarmEvent,
)
from cached.swarm.messages import Survey

MIB = 1 << 20
BLOB = Digest.sha256(b"weights")
SAMPLE = "config.json"
IMAGE = "oci://registry.example/app:1"

RESOLVED = Resolved("minilm", Digest.sha256(b"tree of minilm"), 90 * MIB, 3, 10 * MIB, stale=True)
HALFWAY = Progress(
    total=90 * MIB,
    done=50 * MIB,
    found=10 * MIB,
    from_source=30 * MIB,
    from_peers=10 * MIB,
    rate=1e8,
    eta=0.4,
)
STATUS = StatusView(
    version="0.1.0",
    started_at=1_800_000_000.25,
    root=Path("/var/cache/cached"),
    draining=False,
    space=SpaceView(capacity=1000, used=600, reserved=50, held=300, filesystem_free=5000, min_free=100),
    flight_count=2,
    lease_count=3,
    blob_count=40,
    tree_count=5,
    catalog=CatalogView("/etc/cached/catalog.yaml", 7, 1_800_000_100.5, "line 3: unknown key 'sorce'"),
    scrub=ScrubView(39, 1, None),
    warnings=("the scrub found 1 corrupt blob",),
)

PEERS = PeersView(
    address="10.0.0.1:7400",
    data_address="10.0.0.1:7401",
    zone="a",
    encrypted=True,
    source="dns nodes.cached.svc",
    peers=(
        PeerView("10.0.0.3:7400", "b", PeerState.BANNED, until=58.5, received=4096, failures=2),
        PeerView("10.0.0.2:7400", "a", PeerState.OK, received=90 * MIB, sent=10 * MIB),
        PeerView("10.0.0.4:7400", "", PeerState.ASIDE, until=0.25, failures=1),
    ),
)
SOURCES = (
    SourceView("s3://models/tiny", ("tiny", "tiny@v1")),
    SourceView("s3://models/big", ("big",), Denied("S3 does not let this node read it", hint="grant it")),
)
SWARM = SwarmView(
    coordinator="10.0.0.1:7400",
    chunks=12,
    have=7,
    neighbours=(("10.0.0.3:7400", 2), ("10.0.0.2:7400", 12)),
    survey=Survey(4, 1, 12, 11, 3, 8, ("10.0.0.2:7400",)),
)


class FakeEngine:
    """Implements `cached.serve.api.Engine`; `steps` says what an acquire of each ref goes through.

    A step is an event to tell, an error to raise, or an asyncio.Event to wait for; after the last one
    comes Ready. `present` counts callers inside each acquire, `leases` are those in force.
    """

    def __init__(self, trees: Path, default_ttl: float = 600.0) -> None:
        self.default_ttl = default_ttl
        self.steps: dict[str, list[AcquireEvent | Exception | asyncio.Event]] = {}
        self.asked: list[tuple[str, float | None, str]] = []
        self.present: dict[str, int] = defaultdict(int)
        self.leases: dict[str, LeaseView] = {}
        self.renewals = 0
        self.slow_to_leave = 0.0
        self.broken: Exception | None = None
        self.swarm: SwarmView | None = SWARM
        self.ready_view = ReadinessView(serving=True, wanted=2)
        self._trees = trees
        self._moved = asyncio.Event()
        self._numbers = itertools.count(1)

    def ready(self, ref: str, ttl: float | None = None, holder: str = "") -> Ready:
        """A warm tree on the disk, and a new lease on it."""
        name = ref.partition("@")[0]
        path = self._trees / name
        path.mkdir(parents=True, exist_ok=True)
        (path / SAMPLE).write_text("{}")
        granted = ttl or self.default_ttl
        lease = LeaseView(f"lease-{next(self._numbers)}", holder, time.time() + granted, granted)
        self.leases[lease.id] = lease
        tree = Digest.sha256(f"tree of {name}".encode())
        return Ready(path, tree, lease, 90 * MIB, 3, False, SAMPLE, name)

    async def acquire(
        self, ref: str, *, ttl: float | None, holder: str
    ) -> AsyncGenerator[AcquireEvent, None]:
        self.asked.append((ref, ttl, holder))
        self._come_or_go(ref, 1)
        try:
            for step in self.steps.get(ref, ()):
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield step
            yield self.ready(ref, ttl, holder)
        finally:
            if self.slow_to_leave:
                await asyncio.sleep(self.slow_to_leave)
            self._come_or_go(ref, -1)

    def _come_or_go(self, ref: str, step: int) -> None:
        self.present[ref] += step
        self._moved.set()
        self._moved.clear()

    async def callers(self, ref: str, number: int) -> None:
        """Wait until so many are inside an acquire of `ref`."""
        async with asyncio.timeout(20):
            while self.present[ref] != number:
                await self._moved.wait()

    async def renew(self, lease_id: str, ttl: float | None) -> LeaseView:
        if self.broken:
            raise self.broken
        if lease_id not in self.leases:
            raise NotFound(f"no lease {lease_id}", hint="acquire again")
        old = self.leases[lease_id]
        granted = ttl or old.ttl
        self.renewals += 1
        self.leases[lease_id] = LeaseView(old.id, old.holder, time.time() + granted, granted)
        return self.leases[lease_id]

    async def release(self, lease_id: str) -> None:
        self.leases.pop(lease_id, None)

    async def describe(self, ref: str) -> DescribeView:
        late = LeaseView("secret-1", "pod-b", 1_800_000_300.0, 300.0)
        soon = LeaseView("secret-2", "pod-a", 1_800_000_200.0, 300.0)
        files = (
            FileView(TreeFile(SAMPLE, 2, Digest.sha256(b"{}")), True),
            FileView(TreeFile("model.safetensors", 7, BLOB), False),
        )
        return DescribeView(
            self.artifact(ref), files, (late, soon), ("*.safetensors",), ("*.bin",), self.swarm
        )

    def artifact(self, ref: str, *, pinned: bool = False) -> ArtifactView:
        return ArtifactView(
            ref=ref,
            source="s3://models/minilm/",
            state=State.FETCHING,
            tree=Digest.sha256(b"tree of minilm"),
            path=Path("/var/cache/cached/trees/minilm"),
            size=90 * MIB,
            file_count=3,
            progress=HALFWAY,
            pinned=pinned,
            lease_count=2,
            last_use=1_800_000_000.75,
            last_error="the source was down",
            in_catalog=True,
        )

    async def warm(
        self, refs: Sequence[str], *, everything: bool, wait: bool, pull: bool
    ) -> AsyncGenerator[tuple[str, WarmEvent], None]:
        names = list(refs) or ["minilm", "llama"]
        for ref in names:
            yield ref, Accepted()
        if not wait:
            return
        yield names[0], RESOLVED
        yield names[0], HALFWAY
        if pull:
            yield names[0], Unpacking()
        path = None if pull else Path("/trees/a")
        yield names[0], Warmed(path, Digest.sha256(b"a"), 90 * MIB, 80 * MIB)
        for ref in names[1:]:
            yield ref, NotFound(f"{ref} is not in the catalog", hint="cachectl ls shows what is")

    async def list(self, *, images: bool = False) -> list[ArtifactView]:
        if images:
            return [ArtifactView(IMAGE, "registry.example/app", State.WARM, in_runtime=True)]
        return [ArtifactView("zephyr", "", State.COLD), self.artifact("minilm")]

    async def evict(self, ref: str) -> int:
        if ref == "held":
            raise InUse("held is held by a lease of pod-a", hint="stop pod-a first")
        return 123

    async def pin(self, ref: str) -> ArtifactView:
        return self.artifact(ref, pinned=True)

    async def unpin(self, ref: str) -> ArtifactView:
        return self.artifact(ref)

    async def status(self) -> StatusView:
        if self.broken:
            raise self.broken
        return STATUS

    def peers(self) -> PeersView:
        return PEERS

    async def check_sources(self) -> Sequence[SourceView]:
        return SOURCES

    def readiness(self) -> ReadinessView:
        return self.ready_view

    async def verify(self, ref: str) -> AsyncGenerator[VerifyEvent, None]:
        yield VerifyEvent(4, 9)
        yield VerifyEvent(9, 9, (CorruptBlob(BLOB, (ref or "minilm", "llama")),), finished=True)
