"""Showing a directory at a place by a bind mount, and taking it away. All of it blocks."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Final

from cached.core.errors import Busy, DiskFault, InvalidRequest, NotConfigured, NotFound
from cached.engine.publish.place import Place
from cached.kit import mountinfo
from cached.kit.beneath import ensure_directory, open_beneath, open_directory
from cached.kit.mountinfo import Mount
from cached.kit.mounts import bind_read_only, is_mount_point, unmount

log = logging.getLogger(__name__)

_MOST_STACKED: Final = 1000
_MODE: Final = 0o750
_ITSELF: Final = PurePosixPath()


def mounts() -> list[Mount]:
    """All that is mounted in this namespace. Raises DiskFault."""
    with _faults("reading the table of mounts"):
        return mountinfo.read()


def prepare(directory: Path) -> None:
    """Make the directory for places, if need be. Raises DiskFault."""
    with _faults(f"making {directory}"):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)


def bind(source: Path, place: Place, *, noexec: bool) -> int:
    """Show the directory `source` read-only at `place`, and nothing else; returns how many mounts were busy.

    What stands there already and is right stays as it is; what else was mounted there goes first. Failed,
    it leaves nothing there. Raises Busy when the source is gone, NotFound when the place has no parent,
    InvalidRequest for links or files in the way, NotConfigured without the right to mount, DiskFault.
    """
    name = place.relative.name
    with _faults(f"publishing at {place}"), _opened(source) as tree, _parent(place) as parent:
        made = ensure_directory(name, parent, _MODE)
        try:
            if _is_shown(tree, name, parent):
                return 0
            busy = _unmount_all(name, parent)
            with open_directory(name, parent) as target:
                bind_read_only(tree, target, noexec=noexec)
        except BaseException:
            if made:
                with suppress(OSError):
                    os.rmdir(name, dir_fd=parent)
            raise
        return busy


def unbind(place: Place) -> int:
    """Take away all that is mounted at `place`, and its directory; returns how many mounts were busy.

    Nothing there is no error. When this returns, the place is no mount point. Raises NotConfigured without
    the right to unmount, DiskFault.
    """
    name = place.relative.name
    with _faults(f"unpublishing at {place}"):
        try:
            with open_beneath(place.root, place.relative.parent) as parent:
                busy = _unmount_all(name, parent)
                _remove(name, parent, place)
                return busy
        except (FileNotFoundError, NotADirectoryError):
            return 0  # nothing is ever mounted below a link or a file


def is_bound(source: Path, place: Place) -> bool:
    """Whether `place` shows `source`, read-only, at this moment. Raises DiskFault."""
    with _faults(f"looking at {place}"):
        try:
            with (
                open_beneath(source, _ITSELF) as tree,
                open_beneath(place.root, place.relative.parent) as parent,
            ):
                return _is_shown(tree, place.relative.name, parent)
        except (FileNotFoundError, NotADirectoryError):
            return False


def has_parent(place: Place) -> bool:
    """Whether the directory above `place` is there, by whoever owns it. Raises DiskFault."""
    with _faults(f"looking at {place}"):
        try:
            with open_beneath(place.root, place.relative.parent):
                return True
        except (FileNotFoundError, NotADirectoryError):
            return False


def _is_shown(tree: int, name: str, parent: int) -> bool:
    if not is_mount_point(name, parent):
        return False
    with open_directory(name, parent) as shown:
        read_only = os.fstatvfs(shown).f_flag & os.ST_RDONLY
        return bool(read_only) and os.path.sameopenfile(shown, tree)


def _unmount_all(name: str, parent: int) -> int:
    busy = 0
    for _ in range(_MOST_STACKED):
        if not is_mount_point(name, parent):
            return busy
        busy += not unmount(name, parent)
    raise OSError(errno.EBUSY, f"more than {_MOST_STACKED} mounts on top of each other")


def _remove(name: str, parent: int, place: Place) -> None:
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        log.warning("what is left of a published path belongs to somebody else", extra={"path": str(place)})


@contextmanager
def _opened(source: Path) -> Iterator[int]:
    try:
        with open_beneath(source, _ITSELF) as tree:
            yield tree
    except FileNotFoundError as error:
        raise Busy(f"{source} is not there any more", hint="ask again; it is made anew") from error


@contextmanager
def _parent(place: Place) -> Iterator[int]:
    try:
        with open_beneath(place.root, place.relative.parent) as parent:
            yield parent
    except NotADirectoryError as error:
        raise InvalidRequest(
            f"nothing is published at {place}: there is a link or a file on the way",
            hint="a path to publish at goes through directories only",
        ) from error
    except FileNotFoundError as error:
        raise NotFound(
            f"nothing can be published at {place}: a directory is not there",
            hint="whoever asks makes the directory above the path",
        ) from error


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EPERM:
            raise NotConfigured(
                f"{doing} failed: this daemon may not mount",
                hint="give it CAP_SYS_ADMIN; in a container, privileged: true",
            ) from error
        reason = error.strerror or str(error)
        raise DiskFault(f"{doing} failed: {reason}", hint="see the daemon's log and dmesg") from error
