"""Where a node's files are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cached.cli.containerd import certs_d, installed, wanted

F = TypeVar("F", bound=Callable[..., Any])

_PATH: Final = click.Path(path_type=Path)


def node_files(command: F) -> F:
    """Add --config, --containerd-config and --certs-d."""
    for option in (
        click.option(
            "--certs-d", metavar="DIR", type=_PATH,
            help="Where its hosts.toml files are. [default: its config_path, or /etc/containerd/certs.d]",
        ),
        click.option(
            "--containerd-config", metavar="FILE", type=_PATH, default=installed.USUAL, show_default=True,
            help="containerd's own configuration.",
        ),
        click.option(
            "--config", metavar="FILE", type=_PATH, default=wanted.USUAL, show_default=True,
            envvar="CACHED_CONFIG", show_envvar=True, help="The daemon's settings.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def certs_d_of(node: installed.Installed) -> Path:
    """The directory that containerd looks into first, or should."""
    path = node.registries.config_path.partition(":")[0]
    return Path(path) if path else certs_d.USUAL
