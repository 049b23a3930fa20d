"""The commands below `cachectl node`."""

from __future__ import annotations

import click

from cached.cli.node.ready import ready


@click.group()
def node() -> None:
    """Ask about this node.

    \b
    Examples:
      cachectl node ready --wait --timeout 10m
    """


node.add_command(ready)
