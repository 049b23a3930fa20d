"""What the engine knows of artifacts, as views."""

from __future__ import annotations

from cached.core.digest import Digest
from cached.engine.catalog import LiveCatalog, Target
from cached.engine.travel import Travel
from cached.engine.views import ArtifactView, DescribeView, FileView, LeaseView, State
from cached.store.store import Store


class Show:
    """Puts together what catalog, store and flights say of a target."""

    def __init__(self, store: Store, catalog: LiveCatalog, travel: Travel) -> None:
        self._store = store
        self._catalog = catalog
        self._travel = travel

    def everything(self) -> list[ArtifactView]:
        """All that the catalog declares and all that has been resolved here, by ref."""
        declared = {target.key: target for target in self._catalog.targets()}
        known = declared.keys() | self._store.refs().keys()
        return [self.artifact(key, declared.get(key)) for key in sorted(known)]

    def artifact(self, key: str, target: Target | None) -> ArtifactView:
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
