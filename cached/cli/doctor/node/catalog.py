"""Looking at the catalog, as it is written and as it is in force."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node import about_catalog
from cached.cli.doctor.node.settings import status_of
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding

if TYPE_CHECKING:
    from cached._proto.v1.types_pb2 import Artifact

_PATIENCE: Final = 3.0


def look(scene: Scene) -> Iterator[Finding]:
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    file = scene.settings.catalog
    if file is None:
        raise Skipped("no catalog is set: pods ask for models by their source")
    from cached.config import catalog

    here = scene.seen(file)
    if not here.exists():
        yield about_catalog.missing(file)
        return
    found = catalog.load(here)
    settings = scene.settings
    yield from about_catalog.of_images(found.images, settings.images.upstreams)
    yield from about_catalog.of_files(found.models, settings.sources.file.roots)
    status = status_of(scene)
    if status is None:
        yield Finding(
            "ok", str(file), f"{file} is valid: {len(found.models)} models, {len(found.images)} images"
        )
        return
    yield about_catalog.in_force(status.catalog, here.stat().st_mtime, found)
    yield from about_catalog.of_room(list(_artifacts(scene)), found, status.space.capacity_bytes)


def _artifacts(scene: Scene) -> Iterator[Artifact]:
    with scene.operator() as operator:
        yield from operator.list(timeout=_PATIENCE)
        yield from operator.list(images=True, timeout=_PATIENCE)
