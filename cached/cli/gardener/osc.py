"""A patch of an OperatingSystemConfig: https://gardener.cloud/docs/gardener/extensions/resources/operatingsystemconfig/."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from cached.cli.containerd.hosts import CAPABILITIES, Wanted
from cached.cli.containerd.wanted import USUAL, wanted_of
from cached.cli.node import units
from cached.core.errors import InvalidRequest

if TYPE_CHECKING:
    from cached.config.settings import Settings

Purpose = Literal["reconcile", "provision"]

_ARCHIVE: Final = Path("/opt/cached.tar")
_SYSUSERS: Final = Path("/etc/sysusers.d/cached.conf")
_TMPFILES: Final = Path("/etc/tmpfiles.d/cached.conf")
# What Gardener takes for an upstream: a DNS name, and a port.
_UPSTREAM: Final = re.compile(
    r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*(:[1-9][0-9]{0,4})?\Z"
)

# containerd's hosts.toml files are gardener-node-agent's, by `registries`.
_NO_CONTAINERD: Final = """\
[Service]
ExecStart=
ExecStart=/opt/cached/bin/cachectl node-init --no-containerd
"""
# When another archive has come, gardener-node-agent restarts the unit, which stops cached before it begins.
_UNPACK: Final = f"""\
[Service]
ExecStartPre=/bin/sh -ec 'rm -rf /opt/cached.new; mkdir /opt/cached.new; \\
  tar --extract --file={_ARCHIVE} --directory=/opt/cached.new; \\
  rm -rf /opt/cached; mv /opt/cached.new /opt/cached'
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What goes onto each node of a pool: settings and catalog, checked and as they were written, and the
    image with the program; None where the machine image has it."""

    settings: Settings
    settings_text: str
    catalog_text: str | None = None
    image: str | None = None


def patch(bundle: Bundle, purpose: Purpose) -> dict[str, Any]:
    """The patch, as JSON has it.

    Raises InvalidRequest for settings that are one node's own, or that Gardener would refuse.
    """
    _for_every_node(bundle.settings)
    if purpose == "provision" and bundle.image:
        raise InvalidRequest(
            "no file comes from an image at provision",
            hint="leave --image out, and have the machine image hold /opt/cached",
        )
    files = list(_files(bundle))
    spec: dict[str, Any] = {
        "purpose": purpose,
        "units": list(_units(bundle, purpose, [file["path"] for file in files])),
        "files": files,
    }
    if purpose == "reconcile" and (registries := list(_registries(bundle.settings))):
        spec["criConfig"] = {"name": "containerd", "containerd": {"registries": registries}}
    return {"apiVersion": "extensions.gardener.cloud/v1alpha1", "kind": "OperatingSystemConfig", "spec": spec}


def _for_every_node(settings: Settings) -> None:
    own = {
        "peers.advertise": settings.peers.advertise,
        "peers.listen": settings.peers.listen,
        "csi.node": settings.csi.node,
        "gate.node": settings.gate.node,
    }
    for key, value in own.items():
        if value is not None:
            variable = f"CACHED__{key.upper().replace('.', '__')}"
            raise InvalidRequest(
                f"{key} is one node's own, but these settings go to all of them",
                hint=f"have each node write {variable} into /etc/cached/environment",
            )


def _files(bundle: Bundle) -> Iterator[dict[str, Any]]:
    root = bundle.settings.root
    yield _inline(USUAL, bundle.settings_text)
    if bundle.catalog_text is not None and bundle.settings.catalog:
        yield _inline(bundle.settings.catalog, bundle.catalog_text)
    yield _inline(_SYSUSERS, units.text("sysusers.d/cached.conf", root))
    yield _inline(_TMPFILES, units.text("tmpfiles.d/cached.conf", root))
    if bundle.image:
        source = {"image": bundle.image, "filePathInImage": "/cached.tar"}
        yield {"path": str(_ARCHIVE), "permissions": 0o600, "content": {"imageRef": source}}


def _inline(path: Path, text: str) -> dict[str, Any]:
    """A file for everybody to read: what gardener-node-agent writes else is root's alone."""
    return {"path": str(path), "permissions": 0o644, "content": {"inline": {"encoding": "", "data": text}}}


def _units(bundle: Bundle, purpose: Purpose, paths: list[str]) -> Iterator[dict[str, Any]]:
    """paths: of all files. A unit is restarted when one of those that it names has changed; the catalog is
    none of them, since the daemon follows it."""
    settings, root = bundle.settings, bundle.settings.root
    drop_ins = {"10-gardener.conf": _NO_CONTAINERD} | ({"20-unpack.conf": _UNPACK} if bundle.image else {})
    needed = [path for path in paths if path != str(settings.catalog)]
    yield _unit("cached-node-init.service", units.text("cached-node-init.service", root), drop_ins, needed)
    names = ["10-back-off.conf"] + ["20-privileges.conf"] * _privileged(settings)
    drop_ins = {name: units.text(f"cached.service.d/{name}", root) for name in names}
    yield _unit("cached.service", units.text("cached.service", root), drop_ins, [str(USUAL)])
    if purpose == "reconcile":
        drop_in = units.text("kubelet.service.d/10-cached.conf", root)
        yield {"name": "kubelet.service", "dropIns": [{"name": "10-cached.conf", "content": drop_in}]}


def _unit(name: str, content: str, drop_ins: Mapping[str, str], paths: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "command": "start",
        "enable": True,
        "content": content,
        "dropIns": [{"name": each, "content": text} for each, text in drop_ins.items()],
        "filePaths": paths,
    }


def _privileged(settings: Settings) -> bool:
    """Whether cached is to mount, or to ask containerd."""
    runtime = settings.images.runtime
    return settings.publish.mode == "bind" or bool(settings.csi.driver or runtime.socket or runtime.root)


def _registries(settings: Settings) -> Iterator[dict[str, Any]]:
    if not settings.images.mirror:
        return
    for wanted in wanted_of(settings.images, settings.images.mirror):
        if not _UPSTREAM.match(wanted.registry):
            raise InvalidRequest(
                f"images.upstreams: Gardener takes no registry called {wanted.registry}",
                hint="it takes a DNS name in lower case, and a port",
            )
        server = wanted.server or f"http://{wanted.registry}"
        yield {
            "upstream": wanted.registry,
            "server": server,
            "hosts": [{"url": wanted.mirror, "capabilities": CAPABILITIES}, *_trusting(wanted, server)],
            # It would have the whole configuration wait until the mirror answers.
            "readinessProbe": False,
        }


def _trusting(wanted: Wanted, server: str) -> Iterator[dict[str, Any]]:
    """A server with a CA of its own, once more: Gardener knows such a CA for hosts alone."""
    if wanted.ca:
        yield {"url": server, "capabilities": CAPABILITIES, "caCerts": [str(wanted.ca)]}
