"""Whether the daemon's process has room to work: files that it may open, directories that it may watch."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

_INOTIFY: Final = Path("/proc/sys/fs/inotify")
_OPEN_FILES: Final = re.compile(r"^Max open files +(\d+|unlimited)", re.MULTILINE)
# Connections to sources, neighbours and pullers, each with a file, and room for a rush.
_FEW_FILES: Final = 4096
_FEW_WATCHES: Final = 1024
_FEW_INSTANCES: Final = 4


@dataclass(frozen=True, slots=True)
class Use:
    """How much of something is used, and the most that may be."""

    used: int
    most: int

    @property
    def left(self) -> int:
        return self.most - self.used


def look(scene: Scene) -> Iterator[Finding]:
    if scene.process is None:
        raise Skipped(
            "the daemon's process is not seen from here; look as root, on the node or in its container"
        )
    proc = scene.process.proc
    limit = _OPEN_FILES.search((proc / "limits").read_text())
    assert limit is not None, "the kernel names it"
    files = Use(len(os.listdir(proc / "fd")), 1 << 30 if limit[1] == "unlimited" else int(limit[1]))
    instances, watches = _inotify(proc.stat().st_uid)
    yield from judge(
        files,
        Use(watches, int((_INOTIFY / "max_user_watches").read_text())),
        Use(instances, int((_INOTIFY / "max_user_instances").read_text())),
    )


def judge(files: Use, watches: Use, instances: Use) -> Iterator[Finding]:
    """files: of the daemon. watches, instances: of inotify, all of its user's processes."""
    found = []
    if files.used > 0.8 * files.most:
        message = f"the daemon has {files.used} files open, of {files.most} that it may"
        found.append(
            Finding("problem", "files", message, "raise LimitNOFILE= of the unit, or the pod's limit")
        )
    elif files.most < _FEW_FILES:
        message = f"the daemon may open {files.most} files only"
        found.append(
            Finding("warning", "files", message, "LimitNOFILE=262144 in the unit, or the pod's limit")
        )
    for name, use, few in (("watches", watches, _FEW_WATCHES), ("instances", instances, _FEW_INSTANCES)):
        if use.left < few:
            message = (
                f"the daemon's user has {use.left} of {use.most} inotify {name} left: it notices changes late"
            )
            hint = f"sysctl fs.inotify.max_user_{name}={max(4 * use.most, 1024)}, and restart the daemon"
            found.append(Finding("warning", "inotify", message, hint))
    yield from found or [
        Finding(
            "ok", "limits", f"{files.used} of {files.most} files open, {watches.left} inotify watches left"
        )
    ]


def _inotify(uid: int) -> tuple[int, int]:
    """Instances and watches of all processes of a user, as far as they may be looked into."""
    instances = watches = 0
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            with suppress(OSError):  # it has ended, or is another's
                if proc.stat().st_uid == uid:
                    for counted in _watches_of(proc):
                        instances += 1
                        watches += counted
    return instances, watches


def _watches_of(proc: Path) -> Iterator[int]:
    """The number of watches of each inotify instance that a process has."""
    for name in os.listdir(proc / "fd"):
        with suppress(FileNotFoundError):  # closed meanwhile
            if os.readlink(proc / "fd" / name) == "anon_inode:inotify":
                yield (proc / "fdinfo" / name).read_text().count("inotify wd:")
