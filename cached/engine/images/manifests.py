"""What references are, and which blobs a repository holds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from cached.core.clock import Clock
from cached.core.digest import Digest
from cached.core.errors import CachedError, Corrupt, NotFound, SourceUnavailable
from cached.core.image import Repository
from cached.core.manifest import MAX_MANIFEST, Index, Manifest, parse_manifest
from cached.core.registry import ANYBODY, NODE, Found, Reader, Registry
from cached.engine.images.access import Access, Admitted
from cached.engine.images.flights import BlobFlights
from cached.engine.images.views import Pull
from cached.store.records import ManifestRecord
from cached.store.store import Store
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_MOST_AWAITED: Final = 1000
_TIME_AHEAD: Final = 60.0  # seconds that a record may lie in the future: clocks are set back


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a reference is. reader: who reads it. stale: its registry does not answer. public: anybody may."""

    found: Found
    reader: Reader
    stale: bool = False
    public: bool = False


class Manifests:
    """Asks registries what tags are now, and remembers what they said of manifests that are here."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        access: Access,
        flights: BlobFlights,
        clock: Clock,
        metrics: Metrics,
        max_stale: float,
    ) -> None:
        """max_stale: seconds for which a tag is believed while its registry does not answer."""
        self._store = store
        self._registry = registry
        self._access = access
        self._flights = flights
        self._clock = clock
        self._metrics = metrics
        self._max_stale = max_stale
        self._awaited: OrderedDict[tuple[Repository, Digest], dict[str, bool]] = OrderedDict()
        self._holdings: dict[str, dict[Digest, Mapping[Digest, int]]] = {}

    async def load(self) -> None:
        """Read the manifests that are here, so that their repositories' blobs are known."""
        for record in list(self._store.manifests()):
            if record.reference == record.digest:
                try:
                    data = await self._store.read_blob(record.digest, MAX_MANIFEST)
                    self._hold(record.repository, record.digest, parse_manifest(data, record.media_type))
                except CachedError as error:
                    log.warning(
                        "a manifest cannot be read",
                        extra={"repository": record.repository, "blob": record.digest, "reason": str(error)},
                    )

    # What references are.

    async def resolve(self, pull: Pull, reference: str) -> Resolved:
        """What `reference`, a tag or a digest, is now, for this puller.

        A tag is asked of its registry each time; the last answer counts while the registry does not answer,
        for `max_stale` seconds. A digest of a manifest that is here is not asked, once the puller is known.
        """
        repository, digest = pull.repository, Digest.read(reference)
        record = self._store.manifest(str(repository), reference)
        young = record is not None and self._is_young(record)
        admitted = await self._access.admit(
            pull,
            lambda reader: self._ask(repository, reference, reader),
            ask=digest is None or record is None,
            public=record is not None and record.public and young,
        )
        found = admitted.found
        if found is not None:
            return Resolved(found, admitted.reader, public=admitted.reader.anonymous)
        if record is None or (admitted.unasked and digest is None and not young):
            raise SourceUnavailable(
                f"{repository}:{reference} cannot be resolved: its registry does not answer",
                hint=f"it was never seen here, or more than {self._max_stale:.0f} s ago",
            )
        stale = admitted.unasked and digest is None
        if stale:
            self._metrics.stale_tags.inc()
            log.warning(
                "a registry does not answer; the tag last known is used",
                extra={"repository": str(repository), "tag": reference, "blob": record.digest},
            )
        return Resolved(Found(record.digest, record.size, record.media_type), admitted.reader, stale)

    async def resolve_for_node(self, repository: Repository, reference: str) -> Resolved:
        """The same for the node itself, with its own credentials.

        Whether anybody may have it is asked, too: what a pod pulls of it while the registry is down, say.
        """
        try:
            found = await self._ask(repository, reference, NODE)
            return Resolved(found, NODE, public=await self._is_for_anybody(repository, found))
        except SourceUnavailable as error:
            record = self._store.manifest(str(repository), reference)
            if record is None or not (Digest.read(reference) or self._is_young(record)):
                raise
            self._metrics.stale_tags.inc()
            log.warning(
                "a registry does not answer; the tag last known is used",
                extra={"repository": str(repository), "tag": reference, "reason": error.message},
            )
            return Resolved(Found(record.digest, record.size, record.media_type), NODE, stale=True)

    async def _is_for_anybody(self, repository: Repository, found: Found) -> bool:
        if self._access.trusts(repository):
            return False
        try:
            await self._registry.manifest(repository, found.digest, ANYBODY)
        except CachedError:
            return False
        return True

    async def _ask(self, repository: Repository, reference: str, reader: Reader) -> Found:
        try:
            found = await self._registry.manifest(repository, reference, reader)
        except NotFound:
            await self._store.forget_manifest(str(repository), reference)  # lest an outage bring it back
            raise
        if found.size > MAX_MANIFEST:
            raise Corrupt(f"{repository}:{reference} has {found.size} bytes, more than a manifest may have")
        await self._remember(repository, reference, found, public=reader.anonymous)
        return found

    def _is_young(self, record: ManifestRecord) -> bool:
        return -_TIME_AHEAD <= self._clock.now() - record.seen_at <= self._max_stale

    # Their bytes.

    async def read(
        self, repository: Repository, reference: str, resolved: Resolved
    ) -> tuple[bytes, Index | Manifest]:
        """The bytes of what was resolved, verified and kept, and what they say."""
        found = resolved.found
        data = await self._flights.bytes_of(repository, found, resolved.reader, MAX_MANIFEST)
        manifest = parse_manifest(data, found.media_type)
        told = self._awaited.pop((repository, found.digest), {})
        if not resolved.stale:
            told |= dict.fromkeys((reference, str(found.digest)), resolved.public)
        for each, public in told.items():
            await self._remember(repository, each, found, public=public)
        self._hold(str(repository), found.digest, manifest)
        return data, manifest

    async def _remember(self, repository: Repository, reference: str, found: Found, *, public: bool) -> None:
        """Note what the registry said. That anybody may have it is known only from what it told anybody."""
        before = self._store.manifest(str(repository), reference)
        if before is not None and before.digest == found.digest and before.public and not public:
            return
        record = ManifestRecord(
            str(repository),
            reference,
            found.digest,
            found.size,
            found.media_type,
            self._clock.now(),
            public,
        )
        try:
            await self._store.set_manifest(record)
        except NotFound:  # it is noted once the manifest is here: runtimes ask for a tag, then for its digest
            self._awaited.setdefault((repository, found.digest), {})[reference] = public
            self._awaited.move_to_end((repository, found.digest))
            if len(self._awaited) > _MOST_AWAITED:
                self._awaited.popitem(last=False)

    # Which blobs a repository holds.

    def size_of(self, repository: Repository, blob: Digest) -> int | None:
        """The size of a blob that a manifest of the repository names, as far as manifests are here."""
        name = str(repository)
        held = self._holdings.get(name, {})
        for manifest, blobs in list(held.items()):
            if self._store.manifest(name, manifest) is None:
                del held[manifest]
            elif blob in blobs:
                return blobs[blob]
        return None

    def blobs(self) -> dict[Digest, int]:
        """All blobs that manifests here name, and these manifests, with their sizes in bytes."""
        found: dict[Digest, int] = {}
        for record in self._store.manifests():
            found[record.digest] = record.size
            found.update(self._holdings.get(record.repository, {}).get(record.digest, {}))
        return found

    async def admit(self, pull: Pull, blob: Digest) -> tuple[Admitted, int]:
        """Let a puller have a blob of its repository; its size in bytes.

        What is here for another repository is given only once the registry says that this one holds it, too.
        """
        known = self.size_of(pull.repository, blob)
        probe = partial(self._registry.blob, pull.repository, blob)
        admitted = await self._access.admit(
            pull, probe, ask=known is None, public=known is not None and self._is_public(pull.repository)
        )
        if admitted.found is not None:
            known = admitted.found.size
        if known is None:
            raise SourceUnavailable(
                f"{pull.repository}@{blob} cannot be asked for: its registry does not answer",
                hint="see that the registry answers",
            )
        return admitted, known

    def _is_public(self, repository: Repository) -> bool:
        name = str(repository)
        return any(
            record is not None and record.public and self._is_young(record)
            for record in (self._store.manifest(name, each) for each in self._holdings.get(name, {}))
        )

    def _hold(self, repository: str, digest: Digest, manifest: Index | Manifest) -> None:
        if isinstance(manifest, Manifest):
            blobs = {blob: each.size for blob, each in manifest.blobs.items()}
        else:
            blobs = {}
        self._holdings.setdefault(repository, {})[digest] = blobs
