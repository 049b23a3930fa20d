"""Looking at the disk that the data directory lies on."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node import about_disk
from cached.cli.doctor.node.about_disk import Disk, Room
from cached.cli.doctor.node.settings import status_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.kit import mountinfo
from cached.kit.mountinfo import covering
from cached.kit.units import Share

_BLOCK = 4096


def look(scene: Scene) -> Iterator[Finding]:
    settings = scene.settings
    if settings is None:
        raise Skipped("the settings cannot be read")
    here = scene.seen(settings.root)
    status = status_of(scene)
    if not here.exists():
        yield about_disk.missing(settings.root, running=status is not None)
        return
    usage = os.statvfs(here)
    size = usage.f_blocks * usage.f_frsize
    room = None
    if status is not None:
        space = status.space
        room = Room(space.used_bytes, space.reserved_bytes, space.held_bytes)
    yield from about_disk.judge(
        Disk(
            root=settings.root,
            mount=covering(mountinfo.read(scene.proc), str(scene.real(settings.root))),
            size=size,
            free=usage.f_bavail * usage.f_frsize,
            min_free=_min_free(status.space.min_free_bytes if status else settings.min_free, size),
            files=usage.f_files,
            files_free=usage.f_favail,
            read_only=bool(usage.f_flag & os.ST_RDONLY),
            direct=_direct(here / "lock"),
            with_kubelet=_same_device(here, settings.csi.kubelet_root),
            capacity=settings.capacity,
            room=room,
        )
    )


def _min_free(said: int | Share | None, size: int) -> int | None:
    return said.of(size) if isinstance(said, Share) else said


def _direct(file: Path) -> bool | None:
    """Whether a file can be read past the page cache; None where there is none yet."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    try:
        with mmap.mmap(-1, _BLOCK) as page:
            os.preadv(fd, [page], 0)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    finally:
        os.close(fd)
    return True


def _same_device(one: Path, other: Path) -> bool:
    try:
        return one.stat().st_dev == other.stat().st_dev
    except OSError:  # no kubelet here, or out of sight
        return False
