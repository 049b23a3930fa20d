"""Whether loaders of the Hugging Face hub find a model that is laid out for them, and do without the hub."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.pod.models import places_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.kit import mountinfo

_TRUE: Final = frozenset({"1", "true", "yes", "on"})


def look(scene: Scene) -> Iterator[Finding]:
    caches = [path for place in places_of(mountinfo.read()) if _is_cache(path := Path(place.mount.point))]
    if not caches:
        raise Skipped("no model here is laid out as the hub's cache")
    home = home_of(os.environ)
    yield from judge(caches, os.environ, home, writable=_is_writable(home))


def judge(
    caches: Sequence[Path], environ: Mapping[str, str], home: Path, *, writable: bool
) -> Iterator[Finding]:
    """caches: where such models are mounted. home: the library's own directory; writable: this user may."""
    found = []
    used = Path(environ.get("HF_HUB_CACHE") or home / "hub")
    if used not in caches:
        found.append(
            Finding(
                "problem",
                "HF_HUB_CACHE",
                f"the hub's library looks into {used}, but the model is laid out at {caches[0]}",
                f"HF_HUB_CACHE={caches[0]}",
            )
        )
    if environ.get("HF_HUB_OFFLINE", "").lower() not in _TRUE:
        found.append(
            Finding(
                "warning",
                "HF_HUB_OFFLINE",
                "the hub itself is asked for each file, though all are here",
                "HF_HUB_OFFLINE=1",
            )
        )
    if not writable:
        found.append(
            Finding(
                "problem",
                "HF_HOME",
                f"{home} cannot be written to: loaders fail on their lock files, even offline",
                "HF_HOME in a writable directory, such as an emptyDir; only the cache may be read-only",
            )
        )
    yield from found or [Finding("ok", "hub", f"found offline at {used}, {home} is writable")]


def home_of(environ: Mapping[str, str]) -> Path:
    """Where the library keeps what is its own, as it finds it itself."""
    if home := environ.get("HF_HOME"):
        return Path(home).expanduser()
    base = environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "huggingface"


def _is_cache(path: Path) -> bool:
    with suppress(OSError):
        return any(name.startswith("models--") for name in os.listdir(path))
    return False


def _is_writable(path: Path) -> bool:
    """Whether it, or where it would be made, can be written to."""
    nearest = next(each for each in (path, *path.parents) if each.exists())
    return os.access(nearest, os.W_OK | os.X_OK)
