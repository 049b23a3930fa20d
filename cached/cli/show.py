"""`cachectl ls`, `describe` and `status`: what there is."""

from __future__ import annotations

import time

import click

from cached.cli import pages
from cached.cli.options import Options, Output, output, pass_options, ref_argument, shared
from cached.cli.render import emit, fields


@click.command()
@click.option("--images", is_flag=True, help="Container images instead of models.")
@shared
@output
@pass_options
def ls(options: Options, images: bool, output: Output) -> None:
    """List the models, or the images, of the catalog and of this node.

    \b
    Examples:
      cachectl ls
      cachectl ls -o json | jq -r '.artifacts[] | select(.state == "warm") | .ref'
      cachectl ls --images
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        artifacts = operator.list(images=images, timeout=options.timeout)
    page = pages.images if images else pages.models
    emit(
        output,
        {"artifacts": [fields(each) for each in artifacts]},
        lambda: page(artifacts, time.time()),
    )


@click.command()
@ref_argument()
@shared
@output
@pass_options
def describe(options: Options, ref: str, output: Output) -> None:
    """Tell all about one model or image.

    That is its state, where it comes from, its files, and what holds it.

    \b
    Examples:
      cachectl describe minilm
      cachectl describe oci://nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        answer = operator.describe(ref, timeout=options.timeout)
    emit(output, fields(answer), lambda: pages.model(answer, time.time()))


@click.command()
@shared
@output
@pass_options
def status(options: Options, output: Output) -> None:
    """Tell how the daemon is.

    That is its room, its work, its catalog, and what an operator should look at.

    \b
    Examples:
      cachectl status
      cachectl status -o json | jq .space.used_bytes
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        answer = operator.status(timeout=options.timeout)
    emit(output, fields(answer), lambda: pages.status(answer, time.time()))
