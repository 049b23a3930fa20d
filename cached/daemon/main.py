"""The command `cached`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from pathlib import Path

import click

from cached import __version__
from cached.config import catalog as catalogs
from cached.config import settings as settings_files
from cached.config.settings import Settings
from cached.core.errors import CachedError
from cached.telemetry import logs

log = logging.getLogger(__name__)

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
_config_option = click.option(
    "--config", type=_EXISTING, envvar="CACHED_CONFIG", help="Settings file (YAML); none is needed."
)


def _settings(path: Path | None) -> Settings:
    return settings_files.load(path, os.environ)


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cached")
@_config_option
@click.pass_context
def cli(context: click.Context, config: Path | None) -> None:
    """Serve model weights from this node's disk.

    Without a command it runs the daemon: data below ~/.cache/cached, unix sockets beside it, and any
    s3:// and file:// source may be asked for. Settings come from a file, and from variables such as
    CACHED__CAPACITY=2TiB or CACHED__SOURCES__S3__ENDPOINT=http://127.0.0.1:9000.
    """
    if context.invoked_subcommand is None:
        _run(config)


def _run(config: Path | None) -> None:
    from cached.daemon.lifecycle import serve

    settings = _settings(config)
    logs.set_up(settings.log.level, settings.log.format)
    asyncio.run(serve(settings))


@cli.group("config")
def config_group() -> None:
    """Look at settings and catalogs without running anything."""


@config_group.command()
@_config_option
def check(config: Path | None) -> None:
    """Check the settings, and the catalog that they name."""
    settings = _settings(config)
    if settings.catalog:
        catalog = catalogs.load(settings.catalog)
        click.echo(f"catalog {settings.catalog}: {len(catalog.models)} models, {len(catalog.images)} images")
    click.echo("settings: ok")


@config_group.command()
@_config_option
def show(config: Path | None) -> None:
    """Print the settings in force, as JSON."""
    click.echo(_settings(config).model_dump_json(indent=2))


@config_group.command()
@click.argument("which", type=click.Choice(["settings", "catalog"]), default="settings")
def schema(which: str) -> None:
    """Print the JSON Schema of the settings or the catalog file, for editors."""
    model = Settings if which == "settings" else catalogs.Catalog
    click.echo(json.dumps(model.model_json_schema(), indent=2))


def main() -> None:
    """Entry point of `cached`."""
    try:
        cli.main(standalone_mode=True)
    except CachedError as error:
        click.echo(f"error: {error.message}", err=True)
        if error.hint:
            click.echo(f"hint: {error.hint}", err=True)
        sys.exit(1)
