"""What the engine knows of artifacts, as views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cached.core.digest import Digest
from cached.core.image import is_image
from cached.core.ref import Ref
from cached.engine.catalog import LiveCatalog, Target
from cached.engine.images.journey import ImageJourney
from cached.engine.travel import Travel
from cached.engine.views import ArtifactView, DescribeView, FileView, LeaseView, State
from cached.store.store import Store


class Show:
    """Puts together what catalog, store and flights say of a target."""

    def __init__(
        self, store: Store, catalog: LiveCatalog, travel: Travel, journey: ImageJourney | None
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._travel = travel
        self._journey = journey

    def models(self) -> list[ArtifactView]:
        """All models that the catalog declares and all that have been resolved here, by ref."""
        declared = {target.key: target for target in self._catalog.targets()}
        known = declared.keys() | {key for key in self._store.refs() if not is_image(key)}
        return [self.artifact(key, declared.get(key)) for key in sorted(known)]

    def images(self) -> list[ArtifactView]:
        """The same of container images."""
        declared = {target.key: target for target in self._catalog.images()}
        known = declared.keys() | set(filter(is_image, self._store.refs()))
        return [self.artifact(key, declared.get(key)) for key in sorted(known)]

    def missing(self, kept: Iterable[tuple[Target, bool]]) -> tuple[ArtifactView, ...]:
        """What is not warm of what is kept so; False goes with what this run has not made sure of yet."""
        views = ((self.artifact(target.key, target), sure) for target, sure in kept)
        return tuple(view for view, sure in views if not sure or view.state is not State.WARM)

    def warm_models(self) -> list[str]:
        """Names of the catalog's models that are warm, those first that are to be so from the start."""
        targets = sorted(self._catalog.targets(), key=lambda target: not target.warm_at_start)
        warm = (target for target in targets if self.artifact(target.key, target).state is State.WARM)
        return [Ref.parse(target.key).name for target in warm]

    def artifact(self, key: str, target: Target | None) -> ArtifactView:
        """What is known of one ref, declared or not."""
        if self._journey is not None and is_image(key):
            return self._image(key, target, self._journey)
        return self._model(key, target)

    def _image(self, key: str, target: Target | None, journey: ImageJourney) -> ArtifactView:
        view = self._model(key, target)
        content = journey.known(key)
        progress, failure, unpacked = journey.progress(key), journey.failure(key), journey.unpacked(key)
        return replace(
            view,
            state=_state(view.state is State.WARM or unpacked, progress is not None, failure),
            size=content.size if content else view.size,
            file_count=len(content.blobs) if content else view.file_count,
            progress=progress,
            last_error=failure,
            in_runtime=unpacked,
        )

    def _model(self, key: str, target: Target | None) -> ArtifactView:
        record = self._store.ref(key)
        tree_digest = record.tree if record else None
        tree = self._store.tree(tree_digest) if tree_digest else None
        warm = tree_digest is not None and self._store.is_warm(tree_digest)
        progress = self._travel.progress(tree_digest) if tree_digest else None
        failure = self._travel.failure(key)
        return ArtifactView(
            ref=key,
            source=target.uri if target else (record.source if record else ""),
            state=_state(warm, progress is not None, failure),
            tree=tree_digest,
            path=self._store.tree_path(tree_digest) if warm and tree_digest else None,
            size=tree.size if tree else 0,
            file_count=len(tree.files) if tree else 0,
            progress=progress,
            pinned=bool(self._store.pins(key)),
            lease_count=len(self._store.leases(tree_digest)) if tree_digest else 0,
            last_use=self._store.last_use(tree_digest) if tree_digest else None,
            last_error=failure,
            in_catalog=target is not None and target.declared,
        )

    def describe(self, target: Target) -> DescribeView:
        artifact = self.artifact(target.key, target)
        return DescribeView(
            artifact=artifact,
            files=self._files(artifact.tree),
            leases=self._leases(artifact.tree),
            include=target.selection.include,
            exclude=target.selection.exclude,
        )

    def _files(self, digest: Digest | None) -> tuple[FileView, ...]:
        tree = self._store.tree(digest) if digest else None
        if tree is None:
            return ()
        missing = self._store.missing(tree)
        return tuple(FileView(file, file.blob not in missing) for file in tree.files)

    def _leases(self, digest: Digest | None) -> tuple[LeaseView, ...]:
        if digest is None:
            return ()
        leases = sorted(self._store.leases(digest), key=lambda lease: lease.expires_at)
        return tuple(LeaseView(lease.id, lease.holder, lease.expires_at, lease.ttl) for lease in leases)


def _state(warm: bool, flying: bool, failure: str) -> State:
    if warm:
        return State.WARM
    if flying:
        return State.FETCHING
    return State.FAILED if failure else State.COLD
