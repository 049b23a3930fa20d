"""What is mounted where, as /proc/self/mountinfo tells. Parsing is pure; see proc(5) for the format."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_SELF: Final = Path("/proc/self")
_ESCAPE: Final = re.compile(rb"\\([0-3][0-7]{2})")
_BEFORE_TAGS: Final = 6  # id, parent, device, root, point, options; then any number of tags, then a hyphen


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount, as this process sees it.

    root: what of the filesystem is shown, as a path in that filesystem; it ends with `//deleted` when that
    is gone. point: where it is shown. shared: what is mounted below it appears in other namespaces too.
    group: the number of those that tell each other, empty when it is not shared. receives: what others mount
    below it appears here. kind: of filesystem, such as xfs. source: a device, or what the filesystem says.
    """

    id: int
    root: str
    point: str
    options: frozenset[str]
    shared: bool
    receives: bool = False
    kind: str = ""
    source: str = ""
    group: str = ""

    @property
    def read_only(self) -> bool:
        return "ro" in self.options


def parse(text: bytes) -> list[Mount]:
    """The mounts in the kernel's order, of several at one point the topmost last.

    Names may hold any bytes: blanks, tabs, newlines and backslashes come as octal escapes, all others as
    they are. Lines that are no mounts are passed over.
    """
    found = (_mount(line.split(b" ")) for line in text.split(b"\n"))
    return [mount for mount in found if mount is not None]


def read(proc: Path = _SELF) -> list[Mount]:
    """All mounts of the namespace of a process, this one or that at /proc/PID. Raises OSError."""
    return parse((proc / "mountinfo").read_bytes())


def covering(mounts: Iterable[Mount], path: str) -> Mount | None:
    """The mount that `path`, absolute and without links, lies on."""
    place = PurePosixPath(path)
    best: tuple[int, Mount] | None = None
    for mount in mounts:
        point = PurePosixPath(mount.point)
        if place.is_relative_to(point) and (best is None or len(point.parts) >= best[0]):
            best = len(point.parts), mount
    return best[1] if best else None


def _mount(fields: list[bytes]) -> Mount | None:
    if len(fields) < _BEFORE_TAGS or not fields[0].isdigit() or b"-" not in fields[_BEFORE_TAGS:]:
        return None
    hyphen = fields.index(b"-", _BEFORE_TAGS)
    tags = {key: value for key, _, value in (tag.partition(b":") for tag in fields[_BEFORE_TAGS:hyphen])}
    kind, source, *_ = [*fields[hyphen + 1 :], b"", b""]
    return Mount(
        id=int(fields[0]),
        root=_name(fields[3]),
        point=_name(fields[4]),
        options=frozenset(_name(option) for option in fields[5].split(b",")),
        shared=b"shared" in tags,
        receives=b"shared" in tags or b"master" in tags,
        kind=_name(kind),
        source=_name(source),
        group=_name(tags.get(b"shared", b"")),
    )


def _name(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 8)]), field))
