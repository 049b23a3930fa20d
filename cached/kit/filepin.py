"""What tells one state of a local file from another."""

from __future__ import annotations

import os


def file_pin(status: os.stat_result) -> str:
    """Inode, modification time in nanoseconds, and size: a file written again has another.

    The device is left out: network filesystems get another number at each mount.
    """
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
