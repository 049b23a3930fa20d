"""The commands below `cachectl containerd`."""

from __future__ import annotations

import click

from cached.cli.containerd.check import check
from cached.cli.containerd.configure import configure


@click.group()
def containerd() -> None:
    """Have this node's containerd pull images through the mirror.

    Works on the files of the node and asks no daemon, and restarts nothing.

    \b
    Examples:
      cachectl containerd configure --dry-run
      cachectl containerd check
    """


containerd.add_command(configure)
containerd.add_command(check)
