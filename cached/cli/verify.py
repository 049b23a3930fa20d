"""`cachectl verify`."""

from __future__ import annotations

import time

import click

from cached.cli import exits
from cached.cli.complain import complain
from cached.cli.options import Options, Output, output, pass_options, ref_argument, shared
from cached.cli.progress import open_display
from cached.cli.render import emit, fields
from cached.cli.text import columns
from cached.core.progress import Progress
from cached.kit.units import show_bytes, show_seconds


@click.command()
@ref_argument(required=False)
@shared
@output
@pass_options
@click.pass_context
def verify(ctx: click.Context, options: Options, ref: str | None, output: Output) -> None:
    """Check what is on disk.

    Every chunk of a model or an image, or of the whole store when none is named, is read and compared. What
    is wrong is quarantined, and fetched again when next asked for. The exit code is 10 when anything was.

    \b
    Examples:
      cachectl verify minilm
      cachectl verify -o json
    """
    from cached.client import OperatorClient

    name = ref or "store"
    began = time.monotonic()
    corrupt = []
    done = total = 0
    with OperatorClient(options.address) as operator, open_display(options.quiet) as display:
        for event in operator.verify(ref or "", timeout=options.timeout):
            done, total = event.done_bytes, event.total_bytes
            corrupt += [fields(blob) for blob in event.corrupt]
            display.update(name, _progress(done, total, time.monotonic() - began))
        display.finish(
            name, f"{show_bytes(done)} read in {show_seconds(time.monotonic() - began)}", well=True
        )
    answer = {"done_bytes": done, "total_bytes": total, "corrupt": corrupt}
    if not corrupt:
        emit(output, answer, lambda: f"{name}: {show_bytes(done)} verified, all well")
        return
    rows = [(blob["blob"], " ".join(blob["refs"])) for blob in corrupt]
    emit(output, answer, lambda: columns([("CORRUPT BLOB", "COLD NOW"), *rows]))
    complain(
        f"{name}: {len(corrupt)} of the blobs had wrong bytes; they are quarantined",
        "warm the models again, and look at the disk's health",
    )
    ctx.exit(exits.CORRUPT)


def _progress(done: int, total: int, seconds: float) -> Progress:
    rate = done / seconds if seconds > 1 else 0.0
    return Progress(total, done, rate=rate, eta=(total - done) / rate if rate else None)
