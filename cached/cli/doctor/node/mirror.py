"""Asking the mirror what a container runtime would ask it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from cached.cli.containerd.about_hosts import of_mirror
from cached.cli.containerd.probe import fault_of
from cached.cli.containerd.wanted import wanted_of
from cached.cli.doctor import samples
from cached.cli.doctor.check import Skipped
from cached.cli.doctor.node import about_mirror
from cached.cli.doctor.node.about_mirror import Reply
from cached.cli.doctor.scene import Scene
from cached.cli.finding import Finding
from cached.core.errors import CachedError

if TYPE_CHECKING:
    from cached.config.settings import Settings

SECONDS: Final = 12.0
# No image has it, so nothing comes of asking for it.
_TAG: Final = "cached-doctor.none"
_ANY: Final = "cached-doctor/none"
_AT_ONCE: Final = 8
_MOST_BYTES: Final = 1 << 16


def look(scene: Scene) -> Iterator[Finding]:
    if scene.settings is None:
        raise Skipped("the settings cannot be read")
    images = scene.settings.images
    if not images.mirror or not images.upstreams:
        raise Skipped("images.mirror is not set")
    url = wanted_of(images, images.mirror)[0].mirror
    if fault := fault_of(url):
        yield of_mirror(url, fault)
        return
    before = samples.read(scene.settings.metrics)
    yield from about_mirror.of_traffic(url, before)
    known = _repositories(scene.settings)
    hosts = sorted(images.upstreams)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        replies = pool.map(lambda host: _ask(url, host, known.get(host, _ANY)), hosts)
        for host, reply in zip(hosts, replies, strict=True):
            yield about_mirror.of_upstream(host, reply, known=host in known)


def _repositories(settings: Settings) -> dict[str, str]:
    """A repository of the catalog for each registry that has one there: a refusal of it means something."""
    from cached.config import catalog
    from cached.core.image import ImageName

    if settings.catalog is None:
        return {}
    try:
        names = [ImageName.parse(name) for name in catalog.load(settings.catalog).images]
    except CachedError:  # the check of the catalog tells
        return {}
    return {name.repository.host: name.repository.name for name in names}


def _ask(url: str, host: str, repository: str) -> Reply:
    """What the mirror says to the wish for an image that does not exist."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS - 2)
    try:
        connection.request("GET", f"/v2/{repository}/manifests/{_TAG}?ns={quote(host, safe='')}")
        answer = connection.getresponse()
        body = answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return Reply(0, "", getattr(error, "strerror", None) or type(error).__name__)
    finally:
        connection.close()
    try:
        said = json.loads(body)["errors"][0]
        return Reply(answer.status, str(said.get("code", "")), str(said.get("message", "")))
    except (ValueError, LookupError, TypeError, AttributeError):
        return Reply(answer.status)
