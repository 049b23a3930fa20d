"""The mount unit of the data directory.

It lies in /run, written anew at each boot from what was found: so a disk that was replaced, as instance
storage is at each stop and start, leaves no line behind that names a filesystem that is gone, for which the
boot would wait. A line in /etc/fstab would be such a one, and would share its file with others. Nothing but
cached depends on the unit, so its failure is never the boot's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

_UNITS: Final = Path("/run/systemd/system")
_PLAIN: Final = frozenset(b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:_.")

_TEXT: Final = """\
# Made by cachectl node-init for this boot.
[Unit]
Description=Local disks of cached

[Mount]
What=/dev/disk/by-uuid/{uuid}
Where={where}
Type=xfs
Options=noatime,nosuid,nodev
TimeoutSec=30
"""


def unit_name(where: Path) -> str:
    """As systemd wants the unit of a mount point to be called, such as `var-lib-cached.mount`."""
    text = bytes(where).strip(b"/")
    name = "".join(
        "-"
        if byte == ord("/")
        else chr(byte)
        if byte in _PLAIN and (at or byte != ord("."))
        else f"\\x{byte:02x}"
        for at, byte in enumerate(text)
    )
    return f"{name}.mount"


def unit_path(where: Path) -> Path:
    """Where the unit's file is."""
    return _UNITS / unit_name(where)


def unit_text(where: Path, uuid: str) -> str:
    """The unit that mounts the filesystem `uuid` at `where`."""
    return _TEXT.format(uuid=uuid, where=str(where).replace("%", "%%"))
