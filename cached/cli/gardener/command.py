"""The commands below `cachectl gardener`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click

from cached.cli.gardener.osc import Bundle, Purpose, patch
from cached.cli.gardener.size import check_size
from cached.cli.parts import daemons_part
from cached.core.errors import InvalidRequest

_FILE = click.Path(path_type=Path)


@click.group()
def gardener() -> None:
    """Bring cached onto the nodes of a Gardener shoot.

    \b
    Examples:
      cachectl gardener osc --config cached.yaml --catalog catalog.yaml
    """  # fmt: skip


@gardener.command()
@click.option("--config", metavar="FILE", type=_FILE, required=True, help="The daemon's settings.")
@click.option("--catalog", metavar="FILE", type=_FILE, help="The catalog that the settings name.")
@click.option(
    "--image",
    metavar="IMAGE",
    help="Holds /cached.tar, an installation for /opt/cached that needs nothing of the node. "
    "[default: the machine image has one]",
)
@click.option(
    "--purpose",
    type=click.Choice(["reconcile", "provision"]),
    default="reconcile",
    show_default=True,
    help="Of the OperatingSystemConfig to be patched.",
)
@click.option("-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True)
def osc(
    config: Path, catalog: Path | None, image: str | None, purpose: Purpose, output: Literal["yaml", "json"]
) -> None:
    """Print units, files and registries, as a patch of an OperatingSystemConfig.

    An extension's webhook adds them to the OperatingSystemConfig of a worker pool, list by list: units by
    their name, files by their path, registries by their upstream. Only the files count: CACHED__ variables
    of the environment are left aside.

    \b
    Examples:
      cachectl gardener osc --config cached.yaml --catalog catalog.yaml
      cachectl gardener osc --config cached.yaml --image ghcr.io/org/cached-node:0.1.0 -o json
    """  # fmt: skip
    with daemons_part("read settings"):
        from cached.config import catalog as catalogs
        from cached.config import settings
    loaded = settings.load(config, {})
    if (loaded.catalog is None) is not (catalog is None):
        said = f"names {loaded.catalog} as its catalog" if loaded.catalog else "names no catalog"
        raise InvalidRequest(
            f"{config} {said}", hint="give --catalog, and `catalog` in the settings, or neither"
        )
    if catalog is not None:
        catalogs.load(catalog)
    bundle = Bundle(loaded, config.read_text(), catalog.read_text() if catalog else None, image)
    made = patch(bundle, purpose)
    check_size(made, purpose)
    click.echo(json.dumps(made, indent=2) if output == "json" else _yaml(made), nl=output == "json")


def _yaml(value: object) -> str:
    """With files as they are, line by line, for people to read."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    def text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
        style = "|" if "\n" in value else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, width=1000)
