"""`cachectl config check`: for files on their way to a node, in a pipeline say; asks no daemon."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import click

from cached.cli.options import Output, output
from cached.cli.parts import daemons_part
from cached.cli.render import emit

KINDS = ["settings", "catalog"]


@click.group()
def config() -> None:
    """Work with the daemon's files."""


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="What the file is. [default: catalog if it declares models or images, else settings]",
)
@output
def check(file: Path, kind: str | None, output: Output) -> None:
    """Check a file of settings or a catalog, and name every fault in it.

    Only the file counts: CACHED__ variables of the environment are left aside.

    \b
    Examples:
      cachectl config check /etc/cached/cached.yaml
      cachectl config check --kind catalog models.yaml
    """
    with daemons_part("check files"):
        from cached.config import catalog, problems, settings
    if kind is None:
        mapping = problems.read_mapping(file)
        kind = KINDS["models" in mapping or _names_images(mapping, settings.Images.model_fields)]
    if kind == "catalog":
        catalog.load(file)
    else:
        settings.load(file, {})
    emit(output, {"file": str(file), "kind": kind, "valid": True}, lambda: f"{file}: valid {kind}")


def _names_images(mapping: Mapping[str, Any], settings: Container[str]) -> bool:
    """Whether the key `images`, which both kinds of file may have, is that of a catalog."""
    images = mapping.get("images")
    return (
        mapping.keys() == {"images"}
        and isinstance(images, dict)
        and not any(key in settings for key in images)
    )
