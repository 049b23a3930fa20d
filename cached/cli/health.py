"""`cachectl health`."""

from __future__ import annotations

import math
import time

import click

from cached.cli import exits
from cached.cli.options import Options, Output, output, pass_options, shared
from cached.cli.render import emit

POLL = 0.25


@click.command()
@click.option("--wait", is_flag=True, help="Wait until the daemon serves, at most for --timeout.")
@shared
@output
@pass_options
@click.pass_context
def health(ctx: click.Context, options: Options, wait: bool, output: Output) -> None:
    """Ask whether the daemon serves.

    The exit code is 0 when it does: for probes and scripts.

    \b
    Examples:
      cachectl health --timeout 2s           # a probe
      cachectl health --wait --timeout 1m    # before the first get
    """
    from cached.client import OperatorClient, TimedOut

    deadline = math.inf if options.timeout is None else time.monotonic() + options.timeout
    with OperatorClient(options.address, wait=math.inf if wait else 0.0) as operator:
        while True:
            left = deadline - time.monotonic()
            serving = operator.serving(timeout=None if left == math.inf else max(0.0, left))
            if serving or not wait:
                break
            if left <= POLL:
                raise TimedOut("the daemon does not serve yet", hint="see its log, or give it more time")
            time.sleep(POLL)
    status = "serving" if serving else "not_serving"
    emit(output, {"status": status}, lambda: status.upper())
    ctx.exit(exits.OK if serving else exits.NOT_SERVING)
