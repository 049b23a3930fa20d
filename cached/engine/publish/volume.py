"""What a volume of a pod is, and when two are the same."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from cached.core.digest import Digest
from cached.core.errors import InvalidRequest
from cached.core.progress import Progress
from cached.core.ref import Ref
from cached.engine.publish.place import Place
from cached.engine.views import Resolved
from cached.kit.units import show_bytes, show_seconds

# Leases of volumes are found again by it; nobody else gets one of that name. They are renewed all the time.
HOLDER: Final = "csi/"
TTL: Final = 600.0
MAX_TARGET: Final = 4096

# Where kubelet has a driver's inline volumes, below its root: pods/UID/volumes/kubernetes.io~csi/NAME/mount
_SHAPE: Final = re.compile(r"pods/[^/]+/volumes/kubernetes\.io~csi/[^/]+/mount\Z")


@dataclass(frozen=True, slots=True)
class VolumeOptions:
    """driver: whose volumes these are. kubelet_root: below which all of them are. sockets: the directory of
    the pods' socket. socket_namespaces: whose pods may have that one; all when empty.
    """

    driver: str
    kubelet_root: Path
    sockets: Path
    socket_namespaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as kubelet asks for it. ref: the model in it, or None for the pods' socket.

    namespace: the pod's, empty when kubelet did not say it.
    """

    id: str
    place: Place
    ref: Ref | None
    namespace: str = ""

    @property
    def holder(self) -> str:
        """By which its lease is known."""
        return f"{HOLDER}{self.id}"

    def __str__(self) -> str:
        return f"volume {self.id[:80]}"


@dataclass(frozen=True, slots=True)
class Shown:
    """A volume that is there. source: the directory that it shows. Of a model: its tree, the refs by which it
    may have been asked for, and the lease, None when that was lost; ttl in seconds.
    """

    id: str
    source: Path
    tree: Digest | None = None
    refs: frozenset[Ref] = frozenset()
    lease: str | None = None
    ttl: float = 0.0

    @property
    def holder(self) -> str:
        """By which its lease is known."""
        return f"{HOLDER}{self.id}"

    @property
    def model(self) -> str:
        """Name of the model in the catalog, for people; empty for a socket."""
        return min((ref.name for ref in self.refs), default="")

    def is_what(self, volume: Volume) -> bool:
        """Whether it is what `volume` asks for."""
        if self.id != volume.id or (volume.ref is None) != (self.tree is None):
            return False
        asked = volume.ref
        return asked is None or any(_answers(ref, asked) for ref in self.refs)


def place_of(kubelet_root: Path, target: str) -> Place:
    """The place that a target path of kubelet names. Raises InvalidRequest for any other path."""
    relative = relative_of(kubelet_root, target) if len(target) <= MAX_TARGET else None
    if relative is None:
        raise InvalidRequest(
            f"not a target of an inline volume below {kubelet_root}: {target[:200]!r}",
            hint="set csi.kubelet_root to kubelet's --root-dir",
        )
    return Place(kubelet_root, relative)


def relative_of(root: Path, path: str) -> PurePosixPath | None:
    """What lies below `root`, if it has the shape of an inline volume's target."""
    below = path.removeprefix(f"{root}/")
    if below == path or "\0" in path or not _SHAPE.match(below):
        return None
    relative = PurePosixPath(below)
    return relative if str(relative) == below and ".." not in relative.parts else None


def on_its_way(ref: Ref, resolved: Resolved | None, progress: Progress | None) -> str:
    """How far a model has come, in a sentence for the events of a pod."""
    if resolved is None:
        return f"{ref} is being looked up at its source"
    done, total = (progress.done, progress.total) if progress else (resolved.present, resolved.size)
    said = f"{ref} is on its way: {show_bytes(done)} of {show_bytes(total)} are here"
    if progress is not None and progress.eta is not None:
        said += f", {show_bytes(progress.rate)}/s, {show_seconds(progress.eta)} left"
    return said


def _answers(shown: Ref, asked: Ref) -> bool:
    """A revision that is left open is any, since what it stands for may change while a pod runs."""
    same = (shown.name, shown.include, shown.view) == (asked.name, asked.include, asked.view)
    return same and asked.revision in ("", shown.revision)
