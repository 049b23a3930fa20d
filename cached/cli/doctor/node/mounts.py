"""Whether what the daemon mounts reaches the pods, and nobody can write to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.kit import mountinfo
from cached.kit.mountinfo import Mount, covering

_CAP_SYS_ADMIN: Final = 21
_CAPABILITIES: Final = re.compile(r"^CapEff:\s*([0-9a-f]+)$", re.MULTILINE)
_PROPAGATION: Final = (
    "in a pod: mountPropagation: Bidirectional; in a unit: no Protect…=, Private…= or ReadOnlyPaths=; else"
    " mount --make-rshared"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory that the daemon mounts below. reaches: others are told of what it mounts there. alone:
    nobody outside of its mount namespace needs to see it."""

    directory: Path
    reaches: bool
    alone: bool = False


def look(scene: Scene) -> Iterator[Finding]:
    settings = scene.settings
    if settings is None:
        raise Skipped("the settings cannot be read")
    wanted = []
    if settings.publish.mode == "bind":
        wanted.append((settings.publish.directory, False))
    elsewhere = scene.process is not None and scene.process.elsewhere
    if settings.csi.driver is not None:
        # Kubelet, in the namespace of the host, needs no propagation if the daemon is there, too.
        alone = scene.process is not None and not elsewhere and _with_init()
        wanted.append((settings.csi.kubelet_root / "pods", alone))
    if not wanted:
        raise Skipped("nothing is mounted for pods: publish.mode is directory, and csi.driver is not set")
    mounts = mountinfo.read(scene.proc)
    others = _of_host() if elsewhere else mounts
    places = [
        Place(directory, reaches(covering(mounts, str(scene.real(directory))), others), alone)
        for directory, alone in wanted
    ]
    yield from judge(places, mounts, may_mount=_may_mount(scene) if scene.process else None)


def reaches(beneath: Mount | None, others: Sequence[Mount]) -> bool:
    """Whether what is mounted below a mount appears where `others` are, too. Pure.

    Shared is not enough: a unit's own namespace is, but among its own copies alone.
    """
    return beneath is not None and beneath.shared and beneath.group in {other.group for other in others}


def judge(places: Sequence[Place], mounts: Sequence[Mount], *, may_mount: bool | None) -> Iterator[Finding]:
    """mounts: all that the daemon sees. may_mount: None where its process is not seen."""
    if may_mount is False:
        yield Finding(
            "problem",
            "privileges",
            "the daemon has no CAP_SYS_ADMIN: it mounts nothing, and models stay where they lie",
            "unit: cached.service.d/20-privileges.conf; pod: privileged; or set publish.mode: directory",
        )
    for place in places:
        name = str(place.directory)
        open_ = [each for each in mounts if Path(each.point).parent == place.directory and not each.read_only]
        if not place.reaches and not place.alone:
            yield Finding(
                "problem",
                name,
                f"{name} is on no mount that is shared with the host: pods see nothing that is mounted below",
                _PROPAGATION,
            )
        elif open_ and not place.alone:
            yield Finding(
                "problem",
                name,
                f"{open_[0].point} is mounted writable: pods can change what others read",
                "it is none of cached's mounts; umount it, and see who mounted it",
            )
        else:
            yield Finding("ok", name, f"what is mounted below {name} reaches the pods")


def _of_host() -> list[Mount]:
    """What the first process sees, which is the host's where the daemon's is seen; or else this one."""
    with suppress(OSError):
        return mountinfo.read(Path("/proc/1"))
    return mountinfo.read()


def _may_mount(scene: Scene) -> bool:
    found = _CAPABILITIES.search((scene.proc / "status").read_text())
    return found is not None and bool(int(found[1], 16) >> _CAP_SYS_ADMIN & 1)


def _with_init() -> bool:
    """Whether this is the host's own mount namespace: systemd runs in it."""
    return Path("/run/systemd/system").is_dir()
