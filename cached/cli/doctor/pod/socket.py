"""Whether a pod reaches the daemon, and will after the daemon was replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cached import __version__
from cached.cli.doctor.door import Door, knock
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.kit import mountinfo
from cached.kit.mountinfo import Mount

_MOUNT: Final = (
    "mount the directory of the pods' socket: hostPath /run/cached/pods at the same path, or an inline volume"
    ' of csi.cached.dev with {socket: "true"}; or say where it is by CACHED_ADDRESS'
)


def look(scene: Scene) -> Iterator[Finding]:
    yield from judge(knock(scene.socket), mountinfo.read(), __version__)


def judge(door: Door, mounts: Sequence[Mount], version: str) -> Iterator[Finding]:
    """mounts: all that the pod sees. version: of this client."""
    points = {mount.point for mount in mounts}
    as_file = str(door.path) in points
    if as_file:
        yield Finding(
            "problem",
            "socket",
            f"{door.path} is mounted itself: after the daemon's next restart nobody will be behind it",
            f"mount its directory instead, {door.path.parent}",
        )
    if door.mode is None:
        yield Finding(
            "problem", "socket", f"there is no socket at {door.path}{_why(door.path, points)}", _MOUNT
        )
    elif door.fault is not None:
        yield Finding("problem", "socket", door.fault.message, door.fault.hint)
    elif not door.serving:
        message = "the daemon does not serve: it starts, stops, or has no disk"
        yield Finding(
            "problem", "socket", message, "wait; the client does so by itself. Or see its pod on this node"
        )
    elif not as_file:
        yield Finding("ok", "socket", f"{door.path} serves; this client is {version}")


def _why(path: Path, points: set[str]) -> str:
    mounted = [above for above in path.parents if str(above) in points and str(above) != "/"]
    if mounted:
        return f", though {mounted[0]} is mounted: the daemon does not run, or has its sockets elsewhere"
    return ": nothing is mounted there"
