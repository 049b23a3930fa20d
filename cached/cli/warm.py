"""`cachectl warm`."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from cached.cli.options import Options, Output, complete_image, output, pass_options, refs_argument, shared
from cached.cli.progress import Display, open_display
from cached.cli.render import emit, fields
from cached.cli.several import report
from cached.cli.text import columns
from cached.core.errors import InvalidRequest
from cached.core.image import ImageName, ImageRef, Platform, is_image
from cached.kit.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from cached._proto.v1.operator_pb2 import WarmResponse


def _platform(ctx: click.Context, param: click.Parameter, value: str | None) -> Platform | None:
    try:
        return value if value is None else Platform.parse(value)
    except InvalidRequest as error:
        raise click.BadParameter(str(error)) from None


def _images(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> list[ImageName]:
    for value in values:
        if "://" in value:
            raise click.BadParameter(f"{value!r} is a URI; write the name alone, as in a pod")
    try:
        return [ImageName.parse(value) for value in values]
    except InvalidRequest as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@refs_argument(required=False)
@click.option(
    "--image",
    "images",
    metavar="NAME",
    multiple=True,
    callback=_images,
    shell_complete=complete_image,
    help="A container image, named as in a pod; may be given several times, and beside models.",
)
@click.option(
    "--platform",
    metavar="OS/ARCH",
    callback=_platform,
    help="The platform of these images. [default: this node's]",
)
@click.option("--pull", is_flag=True, help="Have the node's container runtime unpack the images, too.")
@click.option("--all", "everything", is_flag=True, help="All models and images of the catalog.")
@click.option("--no-wait", is_flag=True, help="Hand the work to the daemon and leave.")
@shared
@output
@pass_options
@click.pass_context
def warm(
    ctx: click.Context,
    options: Options,
    refs: tuple[str, ...],
    images: list[ImageName],
    platform: Platform | None,
    pull: bool,
    everything: bool,
    no_wait: bool,
    output: Output,
) -> None:
    """Make models and images complete ahead of their readers.

    The daemon does the work, and goes on when cachectl is interrupted. One model's failure does not stop
    the others; the exit code is that of the first failure.

    \b
    Examples:
      cachectl warm minilm llama@v3
      cachectl warm --image nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8 --pull
      cachectl warm --all --no-wait
    """
    wanted = [*refs, *(str(ImageRef(name, platform)) for name in images)]
    if bool(wanted) == everything:
        raise click.UsageError("name models or images, or give --all")
    if platform and not images:
        raise click.UsageError("--platform is of the images that --image names")
    if pull and not everything and not any(map(is_image, wanted)):
        raise click.UsageError("--pull is for images; name one with --image")
    if pull and platform:
        raise click.UsageError("--pull has the runtime unpack for its own platform; leave --platform out")
    from cached.client import OperatorClient

    results: dict[str, dict[str, Any]] = {}
    try:
        with OperatorClient(options.address) as operator, open_display(options.quiet) as display:
            events = operator.warm(
                wanted, everything=everything, wait=not no_wait, pull=pull, timeout=options.timeout
            )
            follow(events, display, results)
    finally:
        code = report(results.values())
    emit(output, {"results": list(results.values())}, lambda: _table(results.values()))
    ctx.exit(code)


def follow(events: Iterable[WarmResponse], display: Display, results: dict[str, dict[str, Any]]) -> None:
    """Show the events of all models and images, and keep in `results` how far each has come."""
    from cached.client.grant import progress_of

    began = time.monotonic()
    for event in events:
        ref, kind = event.ref, event.WhichOneof("event")
        result = results.setdefault(ref, _result(ref))
        if kind in ("resolved", "progress"):
            result["state"] = "fetching"
            display.update(ref, progress_of(event))
        elif kind == "unpacking":
            result["state"] = "unpacking"
            display.tell(ref, "unpacking")
        elif kind == "warmed":
            result.update(fields(event.warmed), state="warm")
            took = show_seconds(time.monotonic() - began)
            display.finish(ref, f"{show_bytes(event.warmed.size_bytes)} warm after {took}", well=True)
        elif kind == "failed":
            result.update(state="failed", error=fields(event.failed))
            display.finish(ref, "failed", well=False)


def _result(ref: str) -> dict[str, Any]:
    nothing = dict.fromkeys(("path", "tree", "size_bytes", "fetched_bytes", "error"))
    return {"ref": ref, "state": "accepted", **nothing}


def _table(results: Iterable[dict[str, Any]]) -> str:
    def size(value: int | None) -> str:
        return "" if value is None else show_bytes(value)

    rows = [
        (it["ref"], it["state"], size(it["size_bytes"]), size(it["fetched_bytes"]), it["path"] or "")
        for it in results
    ]
    return columns([("REF", "STATE", "SIZE", "FETCHED", "PATH"), *rows]) if rows else "nothing to warm"
