"""Read-only bind mounts that nobody ever sees writable, and their end.

All calls take descriptors, not paths, so that nothing can be swapped for a link in between. They block,
raise OSError, and need CAP_SYS_ADMIN.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Final

from cached.kit.beneath import open_directory
from cached.kit.stagedbind import bind_by_staging

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]

# One number on every machine that Linux of this century runs on.
_OPEN_TREE: Final = 428
_MOVE_MOUNT: Final = 429
_MOUNT_SETATTR: Final = 442

_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_FROM_AND_TO_DESCRIPTORS: Final = 0x4 | 0x40  # MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH

# The same bits as MOUNT_ATTR_… and as MS_….
_RDONLY: Final = 0x1
_NOSUID: Final = 0x2
_NODEV: Final = 0x4
_NOEXEC: Final = 0x8
_PRIVATE: Final = 0x40000

_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8

_CAP_SYS_ADMIN: Final = 21
_CAPABILITIES: Final = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns", ctypes.c_uint64),
    )


def may_mount() -> bool:
    """Whether this process has CAP_SYS_ADMIN."""
    found = _CAPABILITIES.search(Path("/proc/self/status").read_text())
    return found is not None and bool(int(found[1], 16) >> _CAP_SYS_ADMIN & 1)


def bind_read_only(source: int, target: int, *, noexec: bool) -> None:
    """Show the directory `source` at the directory `target`: read-only, nosuid and nodev for everybody.

    A bind on a shared mount spreads at once, and a later remount does not: so the mount is given its
    attributes before anybody can see it. What is mounted below `source` becomes read-only, too.
    """
    attributes = _RDONLY | _NOSUID | _NODEV | (_NOEXEC if noexec else 0)
    try:
        _bind_detached(source, target, attributes)
    except OSError as error:
        if error.errno != errno.ENOSYS:
            raise
        bind_by_staging(source, target, attributes)  # Linux before 5.12


def is_mount_point(name: str, directory: int) -> bool:
    """Whether something is mounted at `name` in the open `directory`. Sees binds, too, in constant time."""
    with open_directory(name, directory) as inner:
        return _mount_id(inner) != _mount_id(directory)


def unmount(name: str, directory: int) -> bool:
    """Take away the topmost mount at `name` in the open `directory`; True when its end is now.

    One that is busy leaves the path all the same, and ends with its last user.
    """
    path = f"/proc/self/fd/{directory}/{name}".encode(errors="surrogateescape")
    number = 0
    for flags in (0, _MNT_DETACH):
        if _libc.umount2(path, flags | _UMOUNT_NOFOLLOW) == 0:
            return not flags
        number = ctypes.get_errno()
        if number != errno.EBUSY:
            break
    raise OSError(number, os.strerror(number))


def _bind_detached(source: int, target: int, attributes: int) -> None:
    cloning = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = _call(_OPEN_TREE, source, b"", cloning)
    try:
        # A clone hears of what is mounted in its original, unless it is told not to.
        wanted = _MountAttributes(set=attributes, propagation=_PRIVATE)
        size = ctypes.c_size_t(ctypes.sizeof(wanted))
        _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH | _AT_RECURSIVE, ctypes.byref(wanted), size)
        _call(_MOVE_MOUNT, tree, b"", target, b"", _FROM_AND_TO_DESCRIPTORS)
    finally:
        os.close(tree)


def _mount_id(descriptor: int) -> str:
    told = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    return told.partition("mnt_id:")[2].partition("\n")[0].strip()


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
