"""`cachectl evict`."""

from __future__ import annotations

import click

from cached.cli.options import Options, Output, output, pass_options, refs_argument, shared
from cached.cli.render import emit
from cached.cli.several import for_each, report
from cached.kit.units import show_bytes


@click.command()
@refs_argument()
@shared
@output
@pass_options
@click.pass_context
def evict(ctx: click.Context, options: Options, refs: tuple[str, ...], output: Output) -> None:
    """Take models and images off this node.

    What a lease or a pin holds is refused. What others share stays on disk. What the container runtime has
    unpacked stays with it.

    \b
    Examples:
      cachectl evict minilm oci://nvcr.io/nim/meta/llama-3.1-8b-instruct:1.8
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address) as operator:
        results = for_each(refs, lambda ref: {"freed_bytes": operator.evict(ref, timeout=options.timeout)})
    gone = [result for result in results if not result["error"]]
    emit(
        output,
        {"results": results},
        lambda: "\n".join(
            f"{result['ref']} evicted, {show_bytes(result['freed_bytes'])} freed" for result in gone
        ),
    )
    ctx.exit(report(results))
