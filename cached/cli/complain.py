"""Trouble, told on standard error: what happened, then what to do next."""

from __future__ import annotations

import os
import sys

import click

from cached.cli.text import plain


def complain(message: str, hint: str = "") -> None:
    """Tell what happened, and what to do next."""
    _say("error", message, "red")
    _hint(hint)


def warn(text: str, hint: str = "") -> None:
    """Tell what does not stop the command, and what to do about it."""
    _say("warning", text, "yellow")
    _hint(hint)


def _hint(text: str) -> None:
    if text:
        _say("hint", text, "cyan")


def _say(kind: str, text: str, colour: str) -> None:
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        kind = click.style(kind, fg=colour, bold=True)
    click.echo(f"{kind}: {plain(text)}", err=True)
