"""What registries said of the manifests that are here, by name and by blob."""

from __future__ import annotations

from cached.core.digest import Digest
from cached.store.records import ManifestRecord


class Manifests:
    """Each record stands for a blob that is complete here, and leaves with it."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[str, str], ManifestRecord] = {}
        self._of_blob: dict[Digest, set[tuple[str, str]]] = {}

    def get(self, repository: str, reference: str) -> ManifestRecord | None:
        return self._by_name.get((repository, reference))

    def all(self) -> list[ManifestRecord]:
        """Every record, in any order."""
        return list(self._by_name.values())

    def put(self, record: ManifestRecord) -> None:
        """Remember a record, or another in the place of the one with its name."""
        name = record.repository, record.reference
        before = self._by_name.get(name)
        if before is not None:
            self._unlink(before.digest, name)
        self._by_name[name] = record
        self._of_blob.setdefault(record.digest, set()).add(name)

    def drop(self, repository: str, reference: str) -> None:
        """The registry knows the reference no more; one that is not known here is left as it is."""
        record = self._by_name.pop((repository, reference), None)
        if record is not None:
            self._unlink(record.digest, (repository, reference))

    def forget(self, blob: Digest) -> None:
        """The blob is not here any more, and neither is what was said of it."""
        for name in self._of_blob.pop(blob, ()):
            del self._by_name[name]

    def _unlink(self, blob: Digest, name: tuple[str, str]) -> None:
        names = self._of_blob[blob]
        names.remove(name)
        if not names:
            del self._of_blob[blob]
