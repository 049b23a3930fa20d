"""The directory of hosts.toml files, as it is on this node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from cached.cli.containerd.files import explained, read
from cached.cli.containerd.hosts import DEFAULT, Certificates, Place
from cached.cli.containerd.marks import Marked

USUAL: Final = Path("/etc/containerd/certs.d")


def names(registry: str) -> list[str]:
    """Directories that containerd looks for, in that order; it takes the first that is there, whatever it
    holds."""
    host, colon, port = registry.rpartition(":")
    return [f"{host}_{port}_", registry] if colon else [registry]


def place_of(certs_d: Path, registry: str) -> Place:
    """Where containerd looks for `registry`, or where a new directory should be.

    Raises InvalidRequest for what cannot be read.
    """
    with explained():
        for name in names(registry):
            if (certs_d / name).exists():
                return _place(certs_d / name)
    missing = sum(not parent.exists() for parent in (certs_d, *certs_d.parents))
    return Place(certs_d / registry, missing=1 + missing)


def default_of(certs_d: Path) -> Place:
    """What counts for registries that have no directory."""
    return _place(certs_d / DEFAULT)


def directories(certs_d: Path) -> Iterator[Path]:
    """All that are there, by name."""
    with explained():
        if certs_d.is_dir():
            yield from sorted(path for path in certs_d.iterdir() if path.is_dir() and path.name[0] != ".")


def leftovers(certs_d: Path, registries: Iterable[str]) -> Iterator[Place]:
    """Those with something of ours in their hosts.toml, although they are for none of `registries`."""
    used = {place_of(certs_d, registry).directory for registry in registries}
    for directory in directories(certs_d):
        if directory not in used:
            place = _place(directory)
            if place.text and Marked.of(place.text, str(place.file)).passage:
                yield place


def _place(directory: Path) -> Place:
    with explained():
        entries = [path.name for path in directory.iterdir() if path.is_file()] if directory.is_dir() else []
    return Place(directory, read(directory / "hosts.toml"), Certificates.among(entries))
