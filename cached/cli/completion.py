"""`cachectl completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print a completion script for a shell.

    It completes commands, options, and the names of models that the daemon knows.

    \b
    Examples:
      source <(cachectl completion bash)     # in ~/.bashrc
      source <(cachectl completion zsh)      # in ~/.zshrc
      cachectl completion fish > ~/.config/fish/completions/cachectl.fish
    """
    generator = get_completion_class(shell)
    assert generator is not None, f"click knows {shell}"
    click.echo(generator(ctx.find_root().command, {}, "cachectl", "_CACHECTL_COMPLETE").source())
