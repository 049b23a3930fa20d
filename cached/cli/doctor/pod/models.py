"""Whether a pod sees models where the daemon shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.kit import mountinfo
from cached.kit.mountinfo import Mount

_TREE: Final = re.compile(r"/(?:trees|mounts)/[0-9a-f]{64}(?://deleted)?\Z")
_MANY: Final = re.compile(r"/(?:trees|mounts)\Z")
_PATIENCE: Final = 5.0
_TTL: Final = 10.0
_SEES: Final = "mountPropagation: HostToContainer in the volumeMount, and start the pod anew"


@dataclass(frozen=True, slots=True)
class Place:
    """Where models are mounted in the pod. many: a directory in which they appear; else it is one model.

    readable: this user may list it.
    """

    mount: Mount
    many: bool
    readable: bool


def look(scene: Scene) -> Iterator[Finding]:
    places = list(places_of(mountinfo.read()))
    yield from judge(places)
    if scene.model:
        yield _held(scene)
    elif not places:
        raise Skipped("no models are mounted here; --model NAME looks for a warm one")


def places_of(mounts: Sequence[Mount]) -> Iterator[Place]:
    """Mounts of models, by what of the node's filesystem they show. Those that appeared in a directory of
    many are not told one by one."""
    many = [each for each in mounts if _is_many(each)]
    for mount in mounts:
        one = bool(_TREE.search(mount.root))
        if one and any(Path(mount.point).parent == Path(each.point) for each in many):
            continue
        if one or mount in many:
            yield Place(mount, not one, os.access(mount.point, os.R_OK | os.X_OK))


def _is_many(mount: Mount) -> bool:
    return bool(_MANY.search(mount.root) and _MANY.search(mount.point))


def judge(places: Sequence[Place]) -> Iterator[Finding]:
    for place in places:
        point = place.mount.point
        if not place.mount.read_only:
            yield Finding(
                "problem" if not place.many else "warning",
                point,
                f"{point} is mounted writable: what this pod changes, others read",
                "readOnly: true in the volume and in the volumeMount",
            )
        if place.many and not place.mount.receives:
            yield Finding(
                "problem",
                point,
                f"models that come after the pod has started do not appear in {point}",
                _SEES,
            )
        if not place.readable:
            yield Finding(
                "problem",
                point,
                f"user {os.geteuid()} may not read {point}",
                "open every directory above it to this user (o+x); SELinux or AppArmor must let pods read it",
            )
        elif place.mount.read_only and (place.mount.receives or not place.many):
            what = "models appear at" if place.many else "a model is at"
            yield Finding("ok", point, f"{what} {point}, read-only")


def _held(scene: Scene) -> Finding:
    """Take a lease on a warm model for a moment, as the client does, and see whether it is seen."""
    from cached._proto.v1.types_pb2 import ARTIFACT_STATE_WARM
    from cached.client import CacheClient, OperatorClient

    address, ref = str(scene.socket), scene.model
    with OperatorClient(address) as asking:
        if asking.describe(ref, timeout=_PATIENCE).artifact.state != ARTIFACT_STATE_WARM:
            return Finding("skipped", ref, f"{ref} is not warm, and nothing is fetched to look at it")
    with CacheClient(address, wait=0) as client, client.acquire(ref, ttl=_TTL, timeout=_PATIENCE) as model:
        return Finding("ok", ref, f"{ref} is seen at {model.path}")
