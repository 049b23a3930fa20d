"""Read-only bind mounts on kernels that cannot give a mount its attributes before it is seen."""

from __future__ import annotations

import ctypes
import os
import tempfile
from pathlib import Path
from typing import Final

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]

_REMOUNT: Final = 0x20
_BIND: Final = 0x1000
_PRIVATE: Final = 0x40000
_MNT_DETACH: Final = 2


def bind_by_staging(source: int, target: int, attributes: int) -> None:
    """Show `source` at `target` by way of a private place: a bind of what is read-only is so from the start.

    attributes: MS_ flags. What is mounted below `source` is not shown at all. Raises OSError.
    """
    stage = Path(tempfile.mkdtemp(prefix="cached-mount-"))
    inner = stage / "tree"
    inner.mkdir()
    try:
        _mount(stage, stage, _BIND)
        try:
            _mount(None, stage, _PRIVATE)
            _mount(_path(source), inner, _BIND)
            _mount(None, inner, _PRIVATE)
            _mount(None, inner, _REMOUNT | _BIND | attributes)
            _mount(inner, _path(target), _BIND)
        finally:
            _libc.umount2(os.fsencode(stage), _MNT_DETACH)
    finally:
        inner.rmdir()
        stage.rmdir()


def _path(descriptor: int) -> Path:
    return Path(f"/proc/self/fd/{descriptor}")


def _mount(source: Path | None, target: Path, flags: int) -> None:
    told = None if source is None else os.fsencode(source)
    if _libc.mount(told, os.fsencode(target), None, flags, None):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
