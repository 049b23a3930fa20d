"""Container images, made here and pushed to a registry."""

from __future__ import annotations

import http.client
import json
import ssl
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cached.core.manifest import DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from tests.servers.layers import Blob, busybox_layer

_OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
_EMPTY: Final = "application/vnd.oci.empty.v1+json"
_PUSH_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Image:
    """A manifest with all that it names: blobs, and of an index the images for its platforms."""

    manifest: Blob
    blobs: tuple[Blob, ...] = ()
    images: tuple[Image, ...] = ()
    platform: str = ""

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def layers(self) -> tuple[Blob, ...]:
        """All blobs but the config."""
        return self.blobs[1:]

    @property
    def size(self) -> int:
        """Bytes of all manifests and blobs, each once."""
        return sum({each.digest: each.size for each in self._all()}.values())

    def _all(self) -> Iterator[Blob]:
        yield from (self.manifest, *self.blobs)
        for image in self.images:
            yield from image._all()


def image(
    layers: Iterable[Blob],
    *,
    command: Sequence[str] = (),
    platform: str = "linux/amd64",
    docker: bool = False,
) -> Image:
    """An image of `layers`, the lowest first. platform: os/architecture, perhaps with a variant."""
    layers = tuple(layers)
    words = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    config = {
        **words,
        "config": {"Entrypoint": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [each.diff_id for each in layers]},
        "history": [{"created_by": "tests"} for _ in layers],
    }
    kinds = (DOCKER_MANIFEST, _DOCKER_CONFIG) if docker else (OCI_MANIFEST, _OCI_CONFIG)
    blobs = (_json(config, kinds[1]), *layers)
    return Image(_manifest(kinds[0], blobs), blobs, platform=platform)


def runnable(*more: Blob, command: Sequence[str] = ("/bin/busybox", "sleep", "3600")) -> Image:
    """An image that runs `command`, with busybox in it, and `more` layers on top."""
    return image([busybox_layer(), *more], command=command)


def index(images: Iterable[Image], *, docker: bool = False) -> Image:
    """One image for several platforms."""
    images = tuple(images)
    manifests = [
        {
            **each.manifest.descriptor,
            "platform": dict(zip(("os", "architecture", "variant"), each.platform.split("/"), strict=False)),
        }
        for each in images
    ]
    kind = DOCKER_INDEX if docker else OCI_INDEX
    said = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
    return Image(_json(said, kind), images=images)


def artifact(kind: str, files: Iterable[bytes], *, subject: Image | None = None) -> Image:
    """Something else than an image, such as a signature of `subject`."""
    blobs = (Blob.of(b"{}", _EMPTY), *(Blob.of(data, "application/octet-stream") for data in files))
    more: dict[str, Any] = {"artifactType": kind}
    if subject:
        more["subject"] = subject.manifest.descriptor
    return Image(_manifest(OCI_MANIFEST, blobs, more), blobs)


def basic(user: str, password: str) -> str:
    """The value of an Authorization header."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def push(
    endpoint: str,
    name: str,
    tag: str,
    pushed: Image,
    *,
    authorization: str = "",
    ca_file: Path | None = None,
    step: int = 0,
) -> None:
    """Put an image into the repository `name`; `tag` may be "" for none.

    authorization: value of that header. step: upload blobs in chunks of so many bytes, 0 for all at once.
    """
    with _Push(endpoint, authorization, ca_file) as to:
        to.image(name, tag, pushed, step)


class _Push:
    """A connection to a registry that takes images."""

    def __init__(self, endpoint: str, authorization: str, ca_file: Path | None) -> None:
        parts = urlsplit(endpoint)
        if parts.scheme == "https":
            tls = ssl.create_default_context(cafile=ca_file)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.netloc, timeout=_PUSH_SECONDS, context=tls
            )
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=_PUSH_SECONDS)
        self._headers = {"Authorization": authorization} if authorization else {}

    def __enter__(self) -> _Push:
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.close()

    def image(self, name: str, tag: str, pushed: Image, step: int) -> None:
        for each in pushed.images:
            self.image(name, "", each, step)
        for blob in pushed.blobs:
            self._blob(name, blob, step)
        where = f"/v2/{name}/manifests/{tag or pushed.digest}"
        said = {"Content-Type": pushed.manifest.media_type}
        self._ask("PUT", where, 201, pushed.manifest.blocks(), {**said, **_length(pushed.manifest.size)})

    def _blob(self, name: str, blob: Blob, step: int) -> None:
        if self._ask("HEAD", f"/v2/{name}/blobs/{blob.digest}", 200, missing=404) is not None:
            return
        where = self._ask("POST", f"/v2/{name}/blobs/uploads/", 202, headers=_length(0))
        for start in range(0, blob.size, step) if step else ():
            end = min(start + step, blob.size)
            said = {"Content-Range": f"{start}-{end - 1}", "Content-Type": "application/octet-stream"}
            said |= _length(end - start)
            where = self._ask("PATCH", where or "", 202, blob.blocks(start, end), said)
        last = f"{where}{'&' if '?' in str(where) else '?'}digest={blob.digest}"
        rest = blob.size if step else 0
        self._ask("PUT", last, 201, blob.blocks(rest), _length(blob.size - rest))

    def _ask(
        self,
        method: str,
        where: str,
        wanted: int,
        body: Iterable[bytes] = (),
        headers: Mapping[str, str] | None = None,
        missing: int = 0,
    ) -> str | None:
        """The Location of the answer; None when its status is `missing`."""
        parts = urlsplit(where)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._connection.request(method, target, body, {**self._headers, **(headers or {})})
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status in (wanted, missing), f"{method} {where}: {answer.status} {said[:500]!r}"
        return answer.headers.get("Location", "") if answer.status == wanted else None


def _length(size: int) -> dict[str, str]:
    return {"Content-Length": str(size)}


def _json(said: object, media_type: str) -> Blob:
    return Blob.of(json.dumps(said, separators=(",", ":")).encode(), media_type)


def _manifest(kind: str, blobs: Sequence[Blob], more: Mapping[str, Any] | None = None) -> Blob:
    config, *layers = (blob.descriptor for blob in blobs)
    said = {"schemaVersion": 2, "mediaType": kind, **(more or {}), "config": config, "layers": layers}
    return _json(said, kind)
