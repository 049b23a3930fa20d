"""The files of `systemd/`, which an installation of cached has with it."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Final

from cached.core.errors import InvalidRequest

_ROOT: Final = "/var/lib/cached"


def text(name: str, root: Path) -> str:
    """A file below `systemd/`, such as cached.service, for a data directory at `root`.

    Raises InvalidRequest for a directory that units cannot name without quoting.
    """
    if not str(root).isprintable() or set(str(root)) & set(" %\"'\\"):
        raise InvalidRequest(
            f"root: {str(root)!r} cannot be written into systemd's files", hint="choose a plain path"
        )
    return resources.files("cached.cli.node").joinpath("systemd", name).read_text().replace(_ROOT, str(root))
