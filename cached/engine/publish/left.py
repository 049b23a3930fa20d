"""Volumes that an earlier process left mounted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from cached.engine.publish.binding import has_parent
from cached.engine.publish.place import Place
from cached.engine.publish.volume import relative_of
from cached.kit.beneath import open_beneath
from cached.kit.mountinfo import Mount

# Kubelet's own note on a volume, beside its target.
_NOTE: Final = "vol_data.json"
_MOST_NOTED: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Left:
    """A mount at a target of the driver. id: the volume's. shown: the last part of what is mounted there."""

    id: str
    place: Place
    shown: str


def left_behind(root: Path, driver: str, mounts: Iterable[Mount]) -> list[Left]:
    """The volumes of `driver` below kubelet's `root` that are mounted, by its notes. Blocks."""
    here = root.resolve()
    found: dict[PurePosixPath, Left] = {}
    for mount in mounts:
        relative = relative_of(here, mount.point)
        volume = relative and _noted(Place(root, relative), driver)
        if relative and volume:
            shown = PurePosixPath(mount.root.removesuffix("//deleted")).name
            found[relative] = Left(volume, Place(root, relative), shown)  # the topmost comes last
    return list(found.values())


def abandoned(places: Iterable[Place]) -> list[Place]:
    """Those whose directories kubelet has removed. Blocks; raises DiskFault."""
    return [place for place in places if not has_parent(place)]


def _noted(place: Place, driver: str) -> str | None:
    """The id of the volume at `place`, if kubelet's note says that it is one of `driver`."""
    try:
        with open_beneath(place.root, place.relative.parent) as parent:
            note = os.open(_NOTE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=parent)
            with open(note, "rb") as file:
                said = json.loads(file.read(_MOST_NOTED))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("driverName") != driver:
        return None
    volume = said.get("volumeHandle")
    return volume if isinstance(volume, str) and volume else None
