"""Manifests of container images: what they say, read with suspicion. Pure.

https://github.com/opencontainers/image-spec, and Docker's schema 2, which has the same shape.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cached.core.digest import Digest
from cached.core.errors import Corrupt, InvalidRequest, NotFound
from cached.core.image import Platform

OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"

INDEXES: Final = frozenset({OCI_INDEX, DOCKER_INDEX})
MANIFESTS: Final = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})

MAX_MANIFEST: Final = 4 << 20
"""Bytes: what registries and runtimes accept."""
_MAX_DESCRIPTORS: Final = 4096
_MAX_SIZE: Final = 1 << 46


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A blob or a manifest as another manifest names it. size: bytes. foreign: fetched from elsewhere."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """The manifests of one image for several platforms, and whatever else was put beside them."""

    manifests: tuple[Descriptor, ...]

    def choose(self, platform: Platform) -> Descriptor:
        """The manifest for `platform`; without a variant, any variant will do. Raises NotFound."""
        fitting = [each for each in self.manifests if _fits(each.platform, platform)]
        if not fitting:
            offered = sorted({str(each.platform) for each in self.manifests if each.platform})
            raise NotFound(
                f"the image has nothing for {platform}",
                hint=f"it is there for {', '.join(offered[:20])}"
                if offered
                else "it names no platform at all",
            )
        return fitting[0]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image, or another artifact: its config and its layers, in order."""

    config: Descriptor
    layers: tuple[Descriptor, ...]

    @property
    def blobs(self) -> dict[Digest, Descriptor]:
        """What a registry serves of it, each once; foreign layers are not among them."""
        return {each.digest: each for each in (self.config, *self.layers) if not each.foreign}


def parse_manifest(data: bytes, media_type: str = "") -> Index | Manifest:
    """Read a manifest of either kind; `media_type` is what its registry called it, if anything.

    Raises Corrupt when it is none, says it is another kind than its registry does, or names no usable blobs.
    """
    if len(data) > MAX_MANIFEST:
        raise Corrupt(f"a manifest of {len(data)} bytes is larger than any may be ({MAX_MANIFEST})")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        raise Corrupt("the manifest is not JSON", hint="push the image again") from None
    if not isinstance(said, dict):
        raise Corrupt("the manifest is not a JSON object", hint="push the image again")
    own = str(said.get("mediaType") or "")
    if own and media_type and own != media_type:
        raise Corrupt(f"the manifest says it is {own[:100]!r}, its registry {media_type[:100]!r}")
    if "manifests" in said and ("config" in said or "layers" in said):  # readers would differ: CVE-2021-41190
        raise Corrupt("the manifest is an index and an image at once", hint="push the image again")
    kind = own or media_type
    if kind in INDEXES or (kind not in MANIFESTS and "manifests" in said):
        return Index(tuple(_descriptors(said, "manifests")))
    if said.get("schemaVersion") == 1 or "config" not in said:
        raise Corrupt(
            f"the manifest is of a kind that is not supported ({kind[:100] or 'no media type'})",
            hint="push the image again with a current tool",
        )
    return Manifest(_descriptor(said["config"]), tuple(_descriptors(said, "layers")))


def _fits(offered: Platform | None, wanted: Platform) -> bool:
    if offered is None or (offered.os, offered.architecture) != (wanted.os, wanted.architecture):
        return False
    return not wanted.variant or offered.variant == wanted.variant


def _descriptors(said: Mapping[str, Any], key: str) -> list[Descriptor]:
    listed = said.get(key)
    if listed is None:  # some artifacts have no layers
        return []
    if not isinstance(listed, list) or len(listed) > _MAX_DESCRIPTORS:
        raise Corrupt(f"the manifest's {key} are no list, or one of more than {_MAX_DESCRIPTORS}")
    return [found for each in listed if (found := _descriptor(each, lenient=key == "manifests"))]


def _descriptor(said: object, *, lenient: bool = False) -> Any:
    """A Descriptor; with `lenient`, None for one whose digest is of a kind that is not kept here."""
    if not isinstance(said, dict):
        raise Corrupt("the manifest has a descriptor that is no JSON object")
    digest, size, media_type = said.get("digest"), said.get("size"), said.get("mediaType", "")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_SIZE:
        raise Corrupt("the manifest has a descriptor without a size that could be")
    found = Digest.read(digest) if isinstance(digest, str) else None
    if found is None or not found.names_content:
        if lenient:
            return None
        raise Corrupt(f"the manifest names a blob by {str(digest)[:100]!r}, which is no sha256 digest")
    return Descriptor(
        media_type if isinstance(media_type, str) else "",
        found,
        size,
        _platform(said.get("platform")),
        foreign=bool(said.get("urls")),
    )


def _platform(said: object) -> Platform | None:
    if not isinstance(said, dict):
        return None
    words = (said.get("os"), said.get("architecture"), said.get("variant") or None)
    try:
        return Platform.parse("/".join(str(word) for word in words if word is not None))
    except InvalidRequest:
        return None
