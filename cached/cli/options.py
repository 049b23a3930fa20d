"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import click

from cached.core.image import SCHEME
from cached.kit.units import parse_seconds

F = TypeVar("F", bound=Callable[..., Any])
Output = Literal["table", "json", "yaml"]

COMPLETION_SECONDS = 0.5


@dataclass
class Options:
    """What holds for every command; each may stand before or after the command's name."""

    address: str | None = None
    timeout: float | None = None
    quiet: bool = False


pass_options = click.make_pass_decorator(Options, ensure=True)


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Callback of an option that takes a time such as 90, 30s, 5m or 1h30m."""
    if value is None:
        return None
    try:
        number = parse_seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if number == 0:
        raise click.BadParameter("the time must be more than zero")
    return number


def _remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value is not None and param.name:
        setattr(ctx.ensure_object(Options), param.name, value)


def _remember_seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    _remember(ctx, param, seconds(ctx, param, value))


def shared(command: F) -> F:
    """Add --address, --timeout and --quiet."""
    for option in (
        click.option(
            "-q", "--quiet", "--no-progress", is_flag=True, default=None, expose_value=False,
            callback=_remember, help="Show no progress.",
        ),
        click.option(
            "--timeout", metavar="TIME", expose_value=False, callback=_remember_seconds,
            help="Give up after this time, such as 30 or 5m; a daemon that is not up is waited for as long.",
        ),
        click.option(
            "--address", metavar="ADDRESS", expose_value=False, callback=_remember,
            help="The daemon's socket, such as unix:///run/cached/operator/cached.sock. "
            "[default: CACHED_ADDRESS, then the usual places]",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def output(command: F) -> F:
    """Add -o, which the command gets as `output`."""
    return click.option(
        "-o", "--output", type=click.Choice(["table", "json", "yaml"]), default="table", show_default=True,
        help="How to print. Fields of json and yaml are stable: sizes in bytes, times in UTC.",
    )(command)  # fmt: skip


def _known(ctx: click.Context, *, images: bool) -> list[str]:
    """Refs that the daemon knows; none when it does not answer at once."""
    from cached.client import CachedError, OperatorClient

    try:
        with OperatorClient(ctx.ensure_object(Options).address) as operator:
            return [artifact.ref for artifact in operator.list(images=images, timeout=COMPLETION_SECONDS)]
    except CachedError:
        return []


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Models that begin so, or images once there is `oci:` before them."""
    known = _known(ctx, images=incomplete.startswith(f"{SCHEME}:"))
    return [ref for ref in known if ref.startswith(incomplete)]


def complete_image(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Names of images that begin so, without platforms."""
    known = {ref.removeprefix(f"{SCHEME}://").partition("?")[0] for ref in _known(ctx, images=True)}
    return sorted(name for name in known if name.startswith(incomplete))


def ref_argument(*, required: bool = True) -> Callable[[F], F]:
    """Add REF, completed from what the daemon knows."""
    return click.argument("ref", required=required, shell_complete=_complete)


def refs_argument(*, required: bool = True) -> Callable[[F], F]:
    """Add REF..., which the command gets as `refs`."""
    return click.argument("refs", metavar="REF...", nargs=-1, required=required, shell_complete=_complete)
