"""`cachectl exec`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from cached.cli.acquire import RESTART, acquire
from cached.cli.complain import complain, warn
from cached.cli.options import Options, pass_options, ref_argument, seconds, shared
from cached.cli.relay import Relay, Stopped

if TYPE_CHECKING:
    from cached.client import Model

NOT_EXECUTABLE = 126
NO_SUCH_PROGRAM = 127


@click.command("exec")
@ref_argument()
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "-I",
    "--replace",
    metavar="TEXT",
    default="{}",
    show_default=True,
    help="What the path replaces, where {} means something to the program, as in JSON.",
)
@click.option("--ttl", callback=seconds, metavar="TIME", help="How long the lease outlives a kill -9.")
@click.option("--holder", metavar="TEXT", help="Who holds the lease, for people. [default: host/pid]")
@shared
@pass_options
@click.pass_context
def execute(
    ctx: click.Context,
    options: Options,
    ref: str,
    command: tuple[str, ...],
    replace: str,
    ttl: float | None,
    holder: str | None,
) -> None:
    """Run a program on a model, held while it runs.

    `{}` in the program's arguments becomes the model's path, which is in CACHED_MODEL_PATH, too. The
    program gets the signals TERM, INT, HUP, QUIT, USR1 and USR2 that cachectl gets; cachectl ends with its
    exit code, or 128 + n when signal n ended it. As the first process of a container it reaps orphans.
    --timeout is for the fetch only.

    \b
    Examples:
      cachectl exec minilm -- vllm serve {} --port 8000
      cachectl exec minilm@v2 -- sh -c 'ls -l "$CACHED_MODEL_PATH"'
      cachectl exec -I MODEL minilm -- serve --model=MODEL --options '{}'
    """  # fmt: skip
    if not replace:
        raise click.UsageError("--replace needs some text to look for")
    import logging

    from cached.client import CacheClient

    logging.getLogger("cached").addHandler(logging.NullHandler())  # on_lost tells it

    def on_lost(model: Model) -> None:
        warn(f"{model.ref} is no longer held: its files may be evicted")

    try:
        # The relay comes first: the threads of the client must not get the signals.
        with (
            Relay() as relay,
            CacheClient(options.address, holder=holder, wait=RESTART, on_lost=on_lost) as cache,
        ):
            take = partial(cache.acquire, ref, ttl=ttl, timeout=options.timeout)
            path = str(acquire(ref, options, lambda show: take(on_progress=show)).path)
            code = _run(relay, [argument.replace(replace, path) for argument in command], path)
    except Stopped as stopped:
        code = 128 + stopped.number
    ctx.exit(code)


def _run(relay: Relay, command: Sequence[str], path: str) -> int:
    try:
        return relay.run(command, os.environ | {"CACHED_MODEL_PATH": path})
    except FileNotFoundError:
        complain(f"there is no program {command[0]!r}", "see that it is installed and in PATH")
        return NO_SUCH_PROGRAM
    except OSError as error:
        complain(f"cannot run {command[0]!r}: {error.strerror}")
        return NOT_EXECUTABLE
