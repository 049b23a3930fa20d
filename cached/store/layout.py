"""Where everything lies below the store's root. Pure paths: nothing here touches the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cached.core.digest import ORIGIN, SHA256, Digest

_FAN_OUT: Final = 2


class Layout:
    """The paths below `root`.

    blobs/<algorithm>/<2 hex>/<hex>         complete blobs, read-only
    stage/<algorithm>-<hex>/{data,journal}  partial blobs
    stage/trees/<hex>.<random>              trees being built or removed
    trees/<hex>/...                         published trees: hardlinks of blobs
    quarantine/<algorithm>-<hex>.<random>   blobs found corrupt
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.blobs = root / "blobs"
        self.stages = root / "stage"
        self.drafts = self.stages / "trees"
        self.trees = root / "trees"
        self.quarantined = root / "quarantine"
        self.index = root / "index.db"
        self.lock = root / "lock"

    @property
    def directories(self) -> tuple[Path, ...]:
        """All that must exist before anything else is done, parents first."""
        kinds = tuple(self.blobs / algorithm for algorithm in (SHA256, ORIGIN))
        fans = tuple(kind / f"{first:02x}" for kind in kinds for first in range(256))
        return (self.root, self.stages, self.drafts, self.trees, self.quarantined, self.blobs, *kinds, *fans)

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.algorithm / digest.hex[:_FAN_OUT] / digest.hex

    def stage(self, digest: Digest) -> Path:
        """The directory of a partial blob."""
        return self.stages / _flat(digest)

    def stage_data(self, digest: Digest) -> Path:
        return self.stage(digest) / "data"

    def stage_journal(self, digest: Digest) -> Path:
        return self.stage(digest) / "journal"

    def tree(self, digest: Digest) -> Path:
        return self.trees / digest.hex

    def draft(self, tree: Digest, mark: str) -> Path:
        """Where a tree is built before it is published, or goes to be deleted; `mark` makes it unique."""
        return self.drafts / f"{tree.hex}.{mark}"

    def quarantine(self, digest: Digest, mark: str) -> Path:
        return self.quarantined / f"{_flat(digest)}.{mark}"

    @staticmethod
    def digest_of_stage(name: str) -> Digest | None:
        """The blob whose stage directory is called `name`, or None for a foreign name."""
        return Digest.read(name.replace("-", ":", 1))

    @staticmethod
    def digest_of_blob(algorithm: str, fan: str, name: str) -> Digest | None:
        """The blob at blobs/`algorithm`/`fan`/`name`, or None for a foreign name."""
        return Digest.read(f"{algorithm}:{name}") if name[:_FAN_OUT] == fan else None

    @staticmethod
    def digest_of_tree(name: str) -> Digest | None:
        """The tree whose directory is called `name`, or None for a foreign name."""
        return Digest.read(f"{SHA256}:{name}")


def _flat(digest: Digest) -> str:
    return f"{digest.algorithm}-{digest.hex}"
