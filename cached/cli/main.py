"""The entry point: finds the command, and turns whatever ends it into an exit code."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from cached import __version__
from cached.cli import exits
from cached.cli.complain import complain
from cached.cli.options import shared
from cached.core.errors import CachedError

# In the order of the help text. Imported when asked for: `get` need not wait for the others.
COMMANDS = {
    "get": "cached.cli.get:get",
    "exec": "cached.cli.exec:execute",
    "warm": "cached.cli.warm:warm",
    "ls": "cached.cli.show:ls",
    "describe": "cached.cli.show:describe",
    "status": "cached.cli.show:status",
    "peers": "cached.cli.peers:peers",
    "pin": "cached.cli.hold:pin",
    "unpin": "cached.cli.hold:unpin",
    "evict": "cached.cli.evict:evict",
    "verify": "cached.cli.verify:verify",
    "health": "cached.cli.health:health",
    "doctor": "cached.cli.doctor.command:doctor",
    "node": "cached.cli.node.command:node",
    "node-init": "cached.cli.node_init:node_init",
    "gardener": "cached.cli.gardener.command:gardener",
    "certs": "cached.cli.certs:certs",
    "config": "cached.cli.config:config",
    "containerd": "cached.cli.containerd.command:containerd",
    "completion": "cached.cli.completion:completion",
    "help": "cached.cli.help:help_",
}


class Cachectl(click.Group):
    """Loads a command only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CachedError as error:
            complain(error.message, error.hint)
            ctx.exit(exits.code_of(error))
        except BrokenPipeError:
            sys.stdout = None  # nothing is left to flush at the end
            ctx.exit(exits.BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(exits.INTERRUPTED)


@click.group(
    cls=Cachectl,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="See also: cachectl help exit-codes, cachectl help output",
)
@click.version_option(__version__, "--version", prog_name="cachectl", message="%(prog)s %(version)s")
@shared
def cli() -> None:
    """Ask the model cache of this node.

    \b
    Examples:
      path=$(cachectl get minilm)            # the model's directory; fetched if need be
      cachectl exec minilm -- vllm serve {}  # held for as long as the program lives
      cachectl warm --all                    # everything in the catalog, ahead of time
      cachectl ls                            # what there is
    """


def main() -> None:
    """Run cachectl and end the process with one of the codes in `exits`."""
    cli(prog_name="cachectl")
