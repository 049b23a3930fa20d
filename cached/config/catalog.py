"""The catalog: which models there are, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from cached.config.kinds import Section
from cached.config.problems import explain, parse_mapping, read_mapping
from cached.core.errors import InvalidRequest
from cached.core.image import ImageName, Platform
from cached.core.names import check_model_name, check_revision
from cached.core.source import Selection

SLOT = "{revision}"


class Model(Section):
    """One model."""

    source: str = Field(max_length=2048)
    """URI of its files, such as s3://bucket/prefix. `{revision}` in it is replaced by the revision."""
    revision: str | None = None
    """A label that promises: these files never change. Resolved once, then never asked of the source again.
    Or `sha256:…`, a tree's digest: then only that tree is accepted."""
    include: tuple[str, ...] = ()
    """Globs of the files to take; all when empty."""
    exclude: tuple[str, ...] = ()
    """Globs of the files to leave out."""
    pin: bool = False
    """Never evict it."""
    warm_at_start: bool = False
    """Make it complete when the daemon starts, and when the catalog changes."""
    share: bool = True
    """Neighbouring nodes may fetch it from this one, and this one from them."""
    namespaces: tuple[str, ...] = ()
    """Kubernetes namespaces whose pods may have it as a volume; all when empty. Sockets do not tell them."""

    @field_validator("source")
    @classmethod
    def _uri(cls, value: str) -> str:
        if not value.startswith(("s3://", "file:///")) or any(ord(c) < 0x20 for c in value):
            raise ValueError("a source begins with s3:// or file:///")
        return value

    @field_validator("revision")
    @classmethod
    def _label(cls, value: str | None) -> str | None:
        try:
            return value if value is None else check_revision(value)
        except InvalidRequest as error:
            raise ValueError(str(error)) from None

    @field_validator("include", "exclude")
    @classmethod
    def _patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not pattern or "\0" in pattern or len(pattern) > 512 for pattern in value):
            raise ValueError("a pattern is 1 to 512 characters")
        return value

    @model_validator(mode="after")
    def _has_revision(self) -> Model:
        if SLOT in self.source and (self.revision is None or self.revision.startswith("sha256:")):
            raise ValueError(f"the source has {SLOT}, so a default revision is needed, and no digest")
        return self

    @property
    def selection(self) -> Selection:
        return Selection(self.include, self.exclude)


class Image(Section):
    """One container image to keep warm."""

    platform: str | None = None
    """Such as linux/amd64; this node's own when unset."""
    pull: bool = False
    """Have the node's container runtime unpack it, too."""
    pin: bool = False
    """Never evict it; with `pull`, keep kubelet from collecting it, too."""

    @field_validator("platform")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        try:
            return value if value is None else str(Platform.parse(value))
        except InvalidRequest as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _own_platform(self) -> Image:
        if self.pull and self.platform is not None:
            raise ValueError("pull: a runtime unpacks images for its own platform; leave platform out")
        return self


class Catalog(Section):
    """All models and images that the operator declares."""

    models: dict[str, Model] = Field(default_factory=dict)
    """By name."""
    images: dict[str, Image] = Field(default_factory=dict)
    """Container images to keep warm, by name, such as nvcr.io/nim/meta/llama-3.1-70b-instruct:1.8."""

    @field_validator("images", mode="before")
    @classmethod
    def _images(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else ():
            try:
                ImageName.parse(str(name))
            except InvalidRequest as error:
                raise ValueError(str(error)) from None
        return {name: each or {} for name, each in value.items()} if isinstance(value, dict) else value

    @field_validator("models", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        for name in value if isinstance(value, dict) else ():
            try:
                check_model_name(name)
            except InvalidRequest as error:
                raise ValueError(str(error)) from None
        return value


def parse(text: str | bytes, where: str) -> Catalog:
    """Read a catalog from its text. Raises InvalidRequest that lists every fault by its key."""
    try:
        return Catalog.model_validate(parse_mapping(text, where))
    except ValidationError as error:
        raise explain(error, where) from None


def load(path: Path) -> Catalog:
    """Read a catalog file; see parse."""
    try:
        return Catalog.model_validate(read_mapping(path))
    except ValidationError as error:
        raise explain(error, str(path)) from None
