"""Whether what the catalog asks for can be had here. Facts in, findings out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from cached.cli.finding import Finding
from cached.core.image import SCHEME, ImageName, is_image
from cached.kit.units import show_bytes

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import CatalogStatus
    from cached._proto.v1.types_pb2 import Artifact
    from cached.config.catalog import Catalog, Image, Model

# How late a change may be noticed: within a second by inotify, and in half a minute without.
_LATE: Final = 60.0


def missing(file: Path) -> Finding:
    return Finding(
        "problem",
        str(file),
        f"there is no catalog at {file}: no model can be asked for by name",
        "write it, or apply the ConfigMap cached-catalog; it is noticed by itself",
    )


def in_force(status: CatalogStatus, written: float, found: Catalog) -> Finding:
    """written: when the file was, in Unix time, which is valid and holds `found`."""
    where = status.path
    if status.error:
        return Finding(
            "problem",
            where,
            f"the daemon refused the catalog, and the last good one is in force: {status.error}",
            "mend the file; cachectl config check finds mistakes before they are applied",
        )
    if not status.HasField("load_time") or written > status.load_time.seconds + _LATE:
        return Finding(
            "warning",
            where,
            f"{where} was changed, and the daemon has not read that",
            "see its log, and whether inotify watches are left (limits); a restart reads it in any case",
        )
    return Finding("ok", where, f"in force: {len(found.models)} models, {len(found.images)} images")


def of_images(images: Mapping[str, Image], upstreams: Collection[str]) -> Iterator[Finding]:
    """Registries that nobody may ask."""
    hosts = sorted({ImageName.parse(name).repository.host for name in images} - set(upstreams))
    for host in hosts:
        yield Finding(
            "problem",
            host,
            f"the catalog has images of {host}, which is no upstream: they cannot be warmed",
            f"add {host} to images.upstreams, or take the images out",
        )


def of_files(models: Mapping[str, Model], roots: Sequence[Path]) -> Iterator[Finding]:
    """Directories that may not be read."""
    for name, model in models.items():
        path = Path(unquote(model.source.removeprefix("file://")))
        if (
            model.source.startswith("file://")
            and roots
            and not any(path.is_relative_to(root) for root in roots)
        ):
            yield Finding(
                "problem",
                name,
                f"model {name} comes from {path}, outside of sources.file.roots",
                "add a directory above it to sources.file.roots",
            )


def of_room(artifacts: Sequence[Artifact], found: Catalog, capacity: int) -> Iterator[Finding]:
    """What is to stay, against the room that there is. Sizes are known of what was resolved once."""
    artifacts = [each for each in artifacts if not each.in_runtime]
    pinned = [each for each in artifacts if each.pinned]
    named = {name for name, model in found.models.items() if model.warm_at_start}
    named |= {f"{SCHEME}://{ImageName.parse(name)}" for name in found.images}
    wanted = [each for each in artifacts if each.pinned or _name_of(each) in named]
    for kept, what, effect in (
        (pinned, "what is pinned", "nothing else can be fetched, and not all of it"),
        (wanted, "what is pinned or warmed at start", "they push each other out"),
    ):
        size = sum({each.tree: each.size_bytes for each in kept if each.tree}.values())
        unknown = sum(not each.tree for each in kept)
        if size > capacity:
            more = f", and {unknown} of unknown size" if unknown else ""
            yield Finding(
                "warning",
                "capacity",
                f"{what} takes {show_bytes(size)}{more}, capacity is {show_bytes(capacity)}: {effect}",
                "raise capacity, exclude files, or pin and warm less",
            )
            return


def _name_of(artifact: Artifact) -> str:
    return artifact.ref.partition("?" if is_image(artifact.ref) else "@")[0]
