"""`cachectl pin` and `cachectl unpin`."""

from __future__ import annotations

import click

from cached.cli.options import Options, Output, output, pass_options, refs_argument, shared
from cached.cli.render import emit, fields
from cached.cli.several import Result, for_each, report


@click.command()
@refs_argument()
@shared
@output
@pass_options
@click.pass_context
def pin(ctx: click.Context, options: Options, refs: tuple[str, ...], output: Output) -> None:
    """Keep models and images from eviction.

    A pin lasts until `unpin`, also over restarts, and holds whether or not the model is here yet.

    \b
    Examples:
      cachectl pin minilm oci://nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        results = for_each(refs, lambda ref: {"artifact": fields(operator.pin(ref, timeout=options.timeout))})
    ctx.exit(_tell(output, results, "pinned"))


@click.command()
@refs_argument()
@shared
@output
@pass_options
@click.pass_context
def unpin(ctx: click.Context, options: Options, refs: tuple[str, ...], output: Output) -> None:
    """Let pinned models and images be evicted again.

    A pin of the catalog is taken away in the catalog.

    \b
    Examples:
      cachectl unpin minilm
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        results = for_each(
            refs, lambda ref: {"artifact": fields(operator.unpin(ref, timeout=options.timeout))}
        )
    ctx.exit(_tell(output, results, "unpinned"))


def _tell(output: Output, results: list[Result], what: str) -> int:
    done = [f"{result['ref']} {what}" for result in results if not result["error"]]
    emit(output, {"results": results}, lambda: "\n".join(done))
    return report(results)
