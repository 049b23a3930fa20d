"""The daemon's settings and catalog, for commands that set a node up by them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cached.core.errors import NotConfigured

if TYPE_CHECKING:
    from cached.config.catalog import Catalog
    from cached.config.settings import Settings

USUAL: Final = Path("/etc/cached/cached.yaml")
"""Where the units look for the settings."""


def settings_of(path: Path, environ: Mapping[str, str]) -> Settings:
    """The settings in `path`, with the variables of `environ` on top.

    Raises InvalidRequest for a file that is not there or wrong, NotConfigured where pydantic is missing.
    """
    try:
        from cached.config import settings
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    return settings.load(path, environ)


def catalog_of(path: Path) -> Catalog:
    """The catalog in `path`; raises as settings_of does."""
    try:
        from cached.config import catalog
    except ModuleNotFoundError as error:
        raise _missing(error) from None
    return catalog.load(path)


def _missing(error: ModuleNotFoundError) -> NotConfigured:
    return NotConfigured(
        f"cannot read settings here: the Python package {error.name} is missing",
        hint="install the daemon's part: pip install 'cached[daemon]'",
    )
