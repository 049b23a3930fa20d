"""What lies in quarantine: corrupt blobs and damaged indexes, kept for people until room is short."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress

from cached.store.faults import disk_faults
from cached.store.layout import Layout


def scan(layout: Layout) -> Iterator[tuple[str, int]]:
    """Name and size in bytes of each thing in quarantine. Raises DiskFault."""
    with disk_faults("listing the quarantine", layout.quarantined), os.scandir(layout.quarantined) as entries:
        for entry in entries:
            yield entry.name, entry.stat(follow_symlinks=False).st_size


def remove(layout: Layout, name: str) -> None:
    """Delete one of them, if it is there. Raises DiskFault."""
    with disk_faults(f"deleting {name} from the quarantine", layout.quarantined):
        path = layout.quarantined / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def take_index(layout: Layout) -> str:
    """Move a damaged index out of the way, with its log; returns its name there. Raises DiskFault."""
    name = f"{layout.index.name}.{time.time_ns():x}"
    with disk_faults("putting the index into quarantine", layout.quarantined):
        for suffix in ("-shm", "-wal", ""):
            with suppress(FileNotFoundError):
                os.rename(f"{layout.index}{suffix}", layout.quarantined / f"{name}{suffix}")
    return name
