"""What really lies in a data directory, to hold against what the daemon says of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cached.store import journal
from cached.store.ledger import footprint


@dataclass(frozen=True)
class Truth:
    """used, reserved: bytes as the ledger should count them, in blocks of 4 KiB. The rest are names."""

    used: int
    reserved: int
    blobs: frozenset[str]
    trees: frozenset[str]
    drafts: frozenset[str]
    stray: tuple[str, ...]


def look(root: Path) -> Truth:
    """Read the directory as it is, without asking the daemon; `stray` lists what should not be there."""
    stray: list[str] = []
    blobs = {path.name: path.lstat() for path in (root / "blobs").glob("*/*/*")}
    kept = sum(footprint(status.st_size) for status in blobs.values())
    kept += sum(footprint(path.lstat().st_size) for path in (root / "quarantine").iterdir())
    reserved = 0
    for stage in (root / "stage").iterdir():
        if stage.name == "trees":
            continue
        entries = journal.read(stage / "journal")
        if entries is None:
            stray.append(f"stage {stage.name} without a journal")
        else:
            reserved += footprint(entries.shape.size)
    inodes = {status.st_ino for status in blobs.values()}
    trees = {path.name for path in (root / "trees").iterdir()}
    for directory, _, names in os.walk(root / "trees"):
        files = [os.path.join(directory, name) for name in names]
        stray += [f"{file} is no blob" for file in files if os.lstat(file).st_ino not in inodes]
    return Truth(
        used=kept,
        reserved=reserved,
        blobs=frozenset(blobs),
        trees=frozenset(trees),
        drafts=frozenset(path.name for path in (root / "stage" / "trees").iterdir()),
        stray=tuple(stray),
    )
