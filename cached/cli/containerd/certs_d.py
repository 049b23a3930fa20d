"""The directory of hosts.toml files, as it is on this node."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cached.cli.containerd.files import explained, is_ours, is_there, read
from cached.cli.containerd.hosts import DEFAULT, Certificates, Place

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
    for name in names(registry):
        if is_there(certs_d / name):
            return _place(certs_d / name)
    missing = sum(not is_there(directory) for directory in (certs_d, *certs_d.parents))
    return Place(certs_d / registry, missing=1 + missing)


def default_of(certs_d: Path) -> Place:
    """What counts for registries that have no directory."""
    return _place(certs_d / DEFAULT)


def ours(certs_d: Path, registries: Iterable[str] = ()) -> list[Path]:
    """All hosts.toml files that have something of ours, but for those of `registries`."""
    others = {name for registry in registries for name in names(registry)}
    with explained():
        found = [path for path in certs_d.iterdir() if path.name[0] != "."] if certs_d.is_dir() else []
    files = [path / "hosts.toml" for path in sorted(found) if path.name not in others]
    return [file for file in files if is_ours(file)]


def _place(directory: Path) -> Place:
    with explained():
        entries = [path.name for path in directory.iterdir() if path.is_file()] if directory.is_dir() else []
    return Place(directory, read(directory / "hosts.toml"), Certificates.among(entries))
