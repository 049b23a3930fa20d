"""Trouble, told on standard error: what happened, then what to do next."""

from __future__ import annotations

import os
import sys

import click

from cached.cli.text import plain


def complain(message: str, hint: str = "") -> None:
    """Tell what happened, and what to do next."""
    _say("error", message, "red")
    if hint:
        _say("hint", hint, "cyan")


def warn(text: str) -> None:
    """Tell what does not stop the command."""
    _say("warning", text, "yellow")


def _say(kind: str, text: str, colour: str) -> None:
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        kind = click.style(kind, fg=colour, bold=True)
    click.echo(f"{kind}: {plain(text)}", err=True)
