"""The catalog in force, and what a ref means under it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiofiles

from cached.config import catalog as files
from cached.config.catalog import SLOT, Catalog, Image, Model
from cached.core.clock import Clock
from cached.core.digest import SHA256
from cached.core.errors import CachedError, Denied, InvalidRequest, NotFound
from cached.core.image import ImageName, ImageRef, Platform, is_image
from cached.core.ref import Ref
from cached.core.source import Selection
from cached.engine.views import CatalogView
from cached.engine.watch import DirectoryWatch
from cached.kit.durable import write_atomic
from cached.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

_SETTLE = 0.1
_POLL = 30.0
_MAX_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """What a ref asks for.

    key: the durable name, `name`, `name@revision` or the URI. uri, selection: which files. revision:
    a label that promises that they never change, a tree's digest, or empty. declared: by the catalog.
    share: with other nodes. pull: have the container runtime unpack it, an image. view: as Ref has it.
    namespaces: those of Kubernetes whose pods may have it; all when empty.
    """

    key: str
    uri: str
    selection: Selection
    revision: str = ""
    pin: bool = False
    warm_at_start: bool = False
    declared: bool = False
    share: bool = True
    pull: bool = False
    view: str = ""
    namespaces: tuple[str, ...] = ()

    @property
    def is_image(self) -> bool:
        """Whether it is a container image, not a model."""
        return is_image(self.key)

    @property
    def pinned_tree(self) -> str:
        """The digest of the only tree that will do, or empty. A view has another tree than its files."""
        return self.revision if self.revision.startswith(f"{SHA256}:") and not self.view else ""

    @property
    def origin(self) -> str:
        """URI and patterns in one line: two targets of one origin resolve alike."""
        chosen = self.selection
        patterns = [f"+{p}" for p in chosen.include] + [f"-{p}" for p in chosen.exclude]
        patterns += [f"&{p}" for p in chosen.within] + [f"={view}" for view in (self.view,) if view]
        return " ".join([self.uri, *patterns])

    @property
    def plain(self) -> Target:
        """The same files as they lie at the source."""
        if not self.view:
            return self
        return replace(self, key=str(replace(Ref.parse(self.key), view="")), view="")


def declared(name: str, model: Model, revision: str = "") -> Target:
    """The target of a catalog entry, at its own revision or at `revision`.

    Raises NotFound when the entry has another revision and its source has no place for this one.
    """
    own = model.revision or ""
    revision = revision or own
    if revision != own and SLOT not in model.source and not revision.startswith(f"{SHA256}:"):
        raise NotFound(
            f"the catalog has no revision {revision} of model {name}",
            hint=f"it has {own or 'none by name'}; put {SLOT} into its source to choose freely",
        )
    if SLOT in model.source and revision.startswith(f"{SHA256}:"):
        raise InvalidRequest(
            f"model {name} is chosen by a revision label, not by a digest", hint=f"ask for {name}@{own}"
        )
    return Target(
        key=f"{name}@{revision}" if revision else name,
        uri=model.source.replace(SLOT, revision),
        selection=model.selection,
        revision=revision,
        pin=model.pin and revision == own,
        warm_at_start=model.warm_at_start and revision == own,
        declared=True,
        share=model.share,
        namespaces=model.namespaces,
    )


def narrowed(target: Target, ref: Ref) -> Target:
    """The target of a catalog entry, with the files and in the view that `ref` asks for.

    Raises InvalidRequest for some files of what the catalog pins to one tree.
    """
    if not ref.include and not ref.view:
        return target
    if ref.include and not ref.revision and target.pinned_tree:
        raise InvalidRequest(
            f"the catalog pins {ref.name} to one tree, of which no part can be asked for",
            hint="ask for all of it, or choose files by include in its entry",
        )
    return replace(
        target,
        key=str(Ref(ref.name, target.revision, include=ref.include, view=ref.view)),
        selection=replace(target.selection, within=ref.include),
        pin=False,
        warm_at_start=False,
        share=target.share and not ref.view,
        view=ref.view,
    )


def permit(target: Target, namespace: str) -> None:
    """Raises Denied unless pods of `namespace`, empty when it is not known, may have the target."""
    if not target.namespaces or namespace in target.namespaces:
        return
    if not namespace:
        raise Denied(
            f"{target.key} is for some namespaces only, and nobody says which one asks",
            hint="set podInfoOnMount: true in the CSIDriver",
        )
    raise Denied(
        f"{target.key} is not for pods of namespace {namespace}",
        hint="add the namespace to the model's entry in the catalog, or run the pod in another",
    )


def image_target(ref: ImageRef) -> Target:
    """The target of an image that no catalog declares."""
    return Target(key=str(ref), uri=str(ref), selection=Selection())


def declared_image(name: str, image: Image) -> Target:
    """The target of an image that the catalog declares."""
    platform = Platform.parse(image.platform) if image.platform else None
    target = image_target(ImageRef(ImageName.parse(name), platform))
    return replace(target, pin=image.pin, pull=image.pull, warm_at_start=True, declared=True)


class LiveCatalog:
    """Follows the catalog's file. A broken file changes nothing but the status: the last good one stays.

    `memory` keeps a copy of the last good text, so that it stays over a restart, too. `allowed` are the
    prefixes of source URIs that may be asked for beside the catalog. `known` is False until one was read, if
    one is to be.
    """

    def __init__(
        self, path: Path | None, allowed: tuple[str, ...], memory: Path, clock: Clock, metrics: Metrics
    ) -> None:
        self._path = path
        self._allowed = allowed
        self._memory = memory
        self._clock = clock
        self._metrics = metrics
        self._catalog = Catalog()
        self._seen: bytes | None = None
        self._remembered: bytes | None = None
        self._loaded_at: float | None = None
        self.known = path is None
        self._error = ""
        metrics.catalog_ok.set(1)

    @property
    def view(self) -> CatalogView:
        path = str(self._path) if self._path else ""
        return CatalogView(path, len(self._catalog.models), self._loaded_at, self._error)

    def targets(self) -> list[Target]:
        """Every model that the catalog declares, by name."""
        return [declared(name, model) for name, model in sorted(self._catalog.models.items())]

    def images(self) -> list[Target]:
        """Every image that the catalog declares, by name."""
        images = sorted(self._catalog.images.items())
        targets = [declared_image(name, image) for name, image in images]
        return list({target.key: target for target in targets}.values())

    def target(self, ref: Ref) -> Target:
        """What `ref` asks for. Raises NotFound for an unknown model, Denied for a URI that policy refuses."""
        if ref.uri and is_image(ref.uri):
            wanted = image_target(ImageRef.parse(ref.uri))  # whether its registry is allowed, that one says
            return next((each for each in self.images() if each.key == wanted.key), wanted)
        if ref.uri:
            if not any(_under(ref.uri, prefix) for prefix in self._allowed):
                raise Denied(
                    f"source {ref.uri} is not in the catalog and not allowed",
                    hint="ask for a model of the catalog, or have the operator add a prefix to allow_sources",
                )
            return Target(key=ref.uri, uri=ref.uri, selection=Selection())
        model = self._catalog.models.get(ref.name)
        if model is None:
            raise NotFound(f"no model {ref.name} in the catalog", hint="cachectl ls shows what there is")
        return narrowed(declared(ref.name, model, ref.revision), ref)

    def shares(self, key: str, origin: str) -> bool:
        """Whether what was resolved under `key`, out of `origin`, may go to other nodes now.

        Of images, blobs go one by one, not as trees.
        """
        try:
            target = self.target(Ref.parse(key))
        except CachedError:
            return False
        return target.share and not target.is_image and target.origin == origin

    async def start(self) -> None:
        """Read the file for the first time; if it is broken, the last good text of an earlier run."""
        if self._path is None or await self.load():
            return
        try:
            catalog = files.parse(await _read(self._memory), str(self._memory))
        except (OSError, CachedError):
            log.error("no good catalog is known; none of its models can be asked for by name")
        else:
            self._catalog = catalog
            self.known = True
            self._metrics.catalog_models.set(len(catalog.models))

    async def load(self) -> bool:
        """Read the file anew; True when another catalog is in force now.

        Faults go to status, log and metric, and change nothing else.
        """
        assert self._path is not None
        try:
            text = await _read(self._path)
            if text == self._seen:
                await self._remember(text)
                return False
            catalog = files.parse(text, str(self._path))
        except OSError as error:
            self._refuse(f"cannot read {self._path}: {error.strerror}")
            return False
        except CachedError as error:
            self._refuse(str(error))
            return False
        self._seen = text
        self._catalog = catalog
        self.known = True
        self._loaded_at = self._clock.now()
        self._error = ""
        self._metrics.catalog_ok.set(1)
        self._metrics.catalog_models.set(len(catalog.models))
        self._metrics.catalog_reloads.labels(result="ok").inc()
        log.info("catalog is in force", extra={"path": str(self._path), "models": len(catalog.models)})
        await self._remember(text)
        return True

    async def _remember(self, text: bytes) -> None:
        """Keep a copy for the next start, unless it is kept already. A full disk must not stop the daemon."""
        if text == self._remembered:
            return
        try:
            await asyncio.to_thread(write_atomic, self._memory, text, 0o600)
        except OSError as error:
            log.warning(
                "the catalog cannot be remembered for the next start; trying again",
                extra={"path": str(self._memory), "reason": error.strerror, "seconds": _POLL},
            )
        else:
            self._remembered = text

    def _refuse(self, why: str) -> None:
        if why == self._error:
            return
        self._error = why
        self._seen = None
        self._metrics.catalog_ok.set(0)
        self._metrics.catalog_reloads.labels(result="refused").inc()
        log.error("catalog refused; the last good one stays in force", extra={"reason": why})

    async def follow(self, changed: Callable[[], None]) -> None:
        """Forever: load the file when its directory changes, and call `changed` after each new catalog.

        The directory is watched, not the file: editors replace files, and a ConfigMap swaps its `..data`
        symlink. A slow poll covers filesystems that tell nothing.
        """
        if self._path is None:
            await asyncio.Event().wait()
            return
        with DirectoryWatch(self._path.parent) as watch:
            while True:
                if await self.load():
                    changed()
                await watch.wait(_POLL)
                await asyncio.sleep(_SETTLE)


async def _read(path: Path) -> bytes:
    async with aiofiles.open(path, "rb") as file:
        text = await file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise InvalidRequest(f"{path} is larger than {_MAX_BYTES} bytes")
    return text


def _under(uri: str, prefix: str) -> bool:
    """Whether `uri` is `prefix` or lies below it.

    `s3://bucket` does not cover `s3://bucket2`, and nothing with `..` in it is covered.
    """
    if any(part in (".", "..") for part in uri.split("/")):
        return False
    return uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/") or uri == prefix
