"""`cachectl peers`: who else runs a daemon."""

from __future__ import annotations

import click

from cached.cli import pages
from cached.cli.options import Options, Output, output, pass_options, shared
from cached.cli.render import emit, fields


@click.command()
@shared
@output
@pass_options
def peers(options: Options, output: Output) -> None:
    """List the other nodes that this one knows.

    The first line tells how they reach this node, whether what they exchange is encrypted, and where they
    are known from. Bytes and failures count from the daemon's start.

    \b
    Examples:
      cachectl peers
      cachectl peers -o json | jq -r '.peers[] | select(.state != "ok") | .address'
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        answer = operator.peers(timeout=options.timeout)
    emit(output, fields(answer), lambda: pages.peers(answer))
