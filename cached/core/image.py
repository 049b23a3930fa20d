"""Names of container images, as people and registries write them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from cached.core.digest import Digest
from cached.core.errors import InvalidRequest

SCHEME: Final = "oci"
DOCKER_HUB: Final = "docker.io"
MAX_REPOSITORY: Final = 255

# https://github.com/distribution/reference: the grammar that every runtime uses.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
_LABEL = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]{{1,5}})?\Z")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")

# What `uname -m` says, in the words of OCI images.
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """Where images lie: `host[:port]` of the registry as image names have it, and the name there."""

    host: str
    name: str

    @classmethod
    def of(cls, host: str, name: str) -> Repository:
        """Check both. Raises InvalidRequest for what no registry would accept."""
        if len(host) > MAX_REPOSITORY or not _HOST.match(host):
            raise InvalidRequest(f"not a registry: {host[:100]!r}", hint="write host or host:port")
        if len(name) > MAX_REPOSITORY or not _NAME.match(name):
            raise InvalidRequest(
                f"not a repository: {name[:100]!r}",
                hint="use lower case letters and digits, parts joined by '.', '_', '-' and '/'",
            )
        return cls(host, name)

    def __str__(self) -> str:
        return f"{self.host}/{self.name}"


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """What an image runs on, in the words of OCI images."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read `os/architecture` or `os/architecture/variant`. Raises InvalidRequest for anything else."""
        words = text.split("/")
        if len(words) not in (2, 3) or not all(map(_WORD.match, words)):
            raise InvalidRequest(f"not a platform: {text[:100]!r}", hint="write it as linux/amd64")
        return cls(*words)

    @classmethod
    def of_machine(cls, machine: str) -> Platform:
        """Linux on what `uname -m` calls `machine`."""
        return cls("linux", _MACHINES.get(machine, machine))

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


@dataclass(frozen=True, slots=True)
class ImageName:
    """An image: a repository and a tag, or a digest, which wins where both are given."""

    repository: Repository
    tag: str = ""
    digest: Digest | None = None

    @classmethod
    def parse(cls, text: str) -> ImageName:
        """Read an image's name as runtimes do: `redis` is `docker.io/library/redis:latest`.

        Raises InvalidRequest.
        """
        if len(text) > 2 * MAX_REPOSITORY + 256:
            raise InvalidRequest(f"not an image: {text[:100]!r}")
        rest, at, digest = text.partition("@")
        last = rest.rpartition("/")[2]
        name, colon, tag = rest.rpartition(":") if ":" in last else (rest, "", "")
        if colon and not check_tag(tag):
            raise InvalidRequest(f"not an image's tag: {tag[:140]!r} in {text[:100]!r}")
        host, slash, path = name.partition("/")
        if not slash or not ("." in host or ":" in host or host == "localhost"):
            host, path = DOCKER_HUB, name
        if host in ("index.docker.io", "registry-1.docker.io"):
            host = DOCKER_HUB
        if host == DOCKER_HUB and "/" not in path:
            path = f"library/{path}"
        if not colon and not at:
            tag = "latest"
        return cls(Repository.of(host, path), tag, Digest.parse(digest) if at else None)

    @property
    def reference(self) -> str:
        """By which the registry is asked: the digest, or else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.repository}{tag}{f'@{self.digest}' if self.digest else ''}"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image on one platform; None is the platform of whoever asks. Written as `oci://NAME?platform=…`."""

    name: ImageName
    platform: Platform | None = None

    @classmethod
    def parse(cls, uri: str) -> ImageRef:
        """Read what `str` wrote. Raises InvalidRequest."""
        parts = urlsplit(uri)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        platform = options.pop("platform", None)
        if parts.scheme != SCHEME or options or parts.fragment:
            raise InvalidRequest(
                f"not an image: {uri[:100]!r}", hint="write oci://host/name:tag, or add ?platform=linux/amd64"
            )
        name = ImageName.parse(f"{parts.netloc}{parts.path}")
        return cls(name, Platform.parse(platform) if platform is not None else None)

    def __str__(self) -> str:
        query = f"?platform={quote(str(self.platform), safe='/')}" if self.platform else ""
        return f"{SCHEME}://{self.name}{query}"


def is_image(ref: str) -> bool:
    """Whether `ref` asks for an image, and not for a model."""
    return ref.startswith(f"{SCHEME}://")


def check_tag(tag: str) -> bool:
    """Whether a registry would accept `tag`."""
    return bool(_TAG.match(tag))
