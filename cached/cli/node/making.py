"""The steps that make, assemble and mount a filesystem of ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cached.cli.node.disk import LABEL, Disk
from cached.cli.node.mount_unit import unit_name, unit_path, unit_text
from cached.cli.node.steps import Put, Run, Step

_ARRAY: Final = f"/dev/md/{LABEL}"
# mkfs.xfs takes the log's stripe from the array, finds it too large, and warns; this is what it takes then.
_LOG_OF_ARRAY: Final = ("-l", "su=8b")


def make_of(blank: Sequence[Disk], uuid: str) -> tuple[Step, ...]:
    """Make the filesystem `uuid` on one disk, or on an array of several."""
    if len(blank) == 1:
        return (_make(blank[0].path, uuid, writes_to=(blank[0].name,)),)
    names, paths = (tuple(disk.name for disk in blank), tuple(disk.path for disk in blank))
    # Without --run mdadm asks before it takes a disk that carries something, and nobody is there to say yes.
    create = Run(
        f"make an array of {len(blank)} disks",
        ("mdadm", "--create", _ARRAY, f"--name={LABEL}", "--level=0", f"--raid-devices={len(blank)}", *paths),
        writes_to=names,
    )
    return (create, _make(_ARRAY, uuid, _LOG_OF_ARRAY))


def make_on(array: Disk, uuid: str) -> tuple[Step, ...]:
    """Make the filesystem `uuid` on an array that is there."""
    return (_make(array.path, uuid, _LOG_OF_ARRAY, writes_to=(array.name,)),)


def assemble(members: Sequence[Disk], hint: str) -> tuple[Step, ...]:
    """Assemble the one array that they are members of."""
    command = ("mdadm", "--assemble", _ARRAY, f"--uuid={members[0].array}", *(disk.path for disk in members))
    return (Run(f"assemble the array of {len(members)} disks", command, hint=hint),)


def mount(root: Path, uuid: str, unit: str) -> tuple[Step, ...]:
    """Mount the filesystem `uuid` at `root`; `unit` is the text of the mount unit that is there."""
    name, text = unit_name(root), unit_text(root, uuid)
    start = Run(f"mount {root}", ("systemctl", "start", name), hint=f"see `systemctl status {name}`")
    if unit == text:
        return (start,)
    return (
        Put(f"write the mount unit of {root}", unit_path(root), text),
        Run("have systemd read it", ("systemctl", "daemon-reload")),
        start,
    )


def _make(path: str, uuid: str, log: tuple[str, ...] = (), *, writes_to: tuple[str, ...] = ()) -> Run:
    # Without -f mkfs.xfs looks for itself, and refuses a disk that carries something. With -K it discards
    # nothing first: that takes longer than a boot should, and mounted filesystems are trimmed anyway.
    return Run(
        f"make a filesystem on {path}",
        ("mkfs.xfs", "-q", "-K", "-L", LABEL, "-m", f"uuid={uuid}", *log, path),
        writes_to=writes_to,
    )
