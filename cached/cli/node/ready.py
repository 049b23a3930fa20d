"""`cachectl node ready`."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import click

from cached.cli import exits, pages
from cached.cli.options import Options, Output, output, pass_options, shared
from cached.cli.progress import Display, open_display
from cached.cli.render import emit, fields

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import ReadinessResponse

POLL = 1.0


@click.command()
@click.option("--wait", is_flag=True, help="Wait until it is, at most for --timeout.")
@shared
@output
@pass_options
@click.pass_context
def ready(ctx: click.Context, options: Options, wait: bool, output: Output) -> None:
    """Ask whether all is warm that the catalog wants warm from the start.

    That is what a gate waits for; this command changes nothing, here or in the cluster. The exit code is
    0 when the daemon serves and all is warm.

    \b
    Examples:
      cachectl node ready                        # and if not, what is missing
      cachectl node ready --wait --timeout 10m   # in a script, before something that needs the models
    """
    from cached.client import OperatorClient, TimedOut

    deadline = math.inf if options.timeout is None else time.monotonic() + options.timeout
    waiting = _Waiting()
    with (
        OperatorClient(options.address, wait=math.inf if wait else 0.0) as operator,
        open_display(options.quiet) as display,
    ):
        while True:
            left = deadline - time.monotonic()
            answer = operator.readiness(timeout=None if left == math.inf else max(0.0, left))
            if wait:
                waiting.show(answer, display)
            if answer.ready or not wait or left <= POLL:
                break
            time.sleep(POLL)
    emit(output, fields(answer), lambda: pages.readiness(answer))
    if wait and not answer.ready:
        raise TimedOut("the node is not ready yet", hint="cachectl describe REF says more of what is missing")
    ctx.exit(_code(answer))


def _code(answer: ReadinessResponse) -> int:
    if not answer.serving:
        return exits.NOT_SERVING
    return exits.OK if answer.ready else exits.NOT_READY


class _Waiting:
    """Shows what is still missing, each thing once."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def show(self, answer: ReadinessResponse, display: Display) -> None:
        from cached.client.grant import shown

        for ref in self._told.keys() - {each.ref for each in answer.missing}:
            del self._told[ref]
            display.finish(ref, "warm", well=True)
        for each in answer.missing:
            if each.HasField("progress"):
                self._told[each.ref] = ""
                display.update(each.ref, shown(each.progress))
            elif each.last_error and self._told.get(each.ref) != each.last_error:
                self._told[each.ref] = each.last_error
                display.tell(each.ref, each.last_error)
