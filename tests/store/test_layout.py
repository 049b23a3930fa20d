from __future__ import annotations

from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.store.layout import Layout

HEX = "ab" + "0" * 62
LAYOUT = Layout(Path("/root-of-store"))


@pytest.mark.parametrize("algorithm", ["sha256", "origin"])
def test_every_path_tells_its_digest(algorithm: str) -> None:
    digest = Digest.parse(f"{algorithm}:{HEX}")
    blob = LAYOUT.blob(digest)

    assert blob == Path(f"/root-of-store/blobs/{algorithm}/ab/{HEX}")
    assert LAYOUT.digest_of_blob(*blob.relative_to(LAYOUT.blobs).parts) == digest
    assert LAYOUT.digest_of_stage(LAYOUT.stage(digest).name) == digest
    assert blob.parent in LAYOUT.directories


def test_a_tree_tells_its_digest() -> None:
    digest = Digest.parse(f"sha256:{HEX}")
    assert LAYOUT.digest_of_tree(LAYOUT.tree(digest).name) == digest
    assert LAYOUT.draft(digest, "1").parent == LAYOUT.drafts


@pytest.mark.parametrize(
    ("algorithm", "fan", "name"),
    [
        ("sha256", "ac", HEX),
        ("sha256", "a", HEX),
        ("sha256", "", HEX),
        ("md5", "ab", HEX),
        ("sha256", "ab", HEX[:-1]),
        ("sha256", "ab", HEX.upper()),
        ("sha256", "ab", HEX + "\n"),
    ],
)
def test_foreign_names_are_no_blobs(algorithm: str, fan: str, name: str) -> None:
    assert LAYOUT.digest_of_blob(algorithm, fan, name) is None


@pytest.mark.parametrize("name", ["trees", "", f"sha256:{HEX}x", f"sha256-{HEX}.old", f"-{HEX}"])
def test_foreign_names_are_no_stages(name: str) -> None:
    assert LAYOUT.digest_of_stage(name) is None


def test_directories_come_after_their_parents() -> None:
    seen = {LAYOUT.root.parent}
    for directory in LAYOUT.directories:
        assert directory.parent in seen
        seen.add(directory)
