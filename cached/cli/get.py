"""`cachectl get`."""

from __future__ import annotations

from functools import partial

import click

from cached.cli.acquire import RESTART, acquire
from cached.cli.options import Options, Output, output, pass_options, ref_argument, seconds, shared
from cached.cli.render import emit, rfc3339


@click.command()
@ref_argument()
@click.option("--ttl", callback=seconds, metavar="TIME", help="How long the lease lasts, such as 10m.")
@click.option("--holder", metavar="TEXT", help="Who holds the lease, for people. [default: host/pid]")
@shared
@output
@pass_options
def get(options: Options, ref: str, ttl: float | None, holder: str | None, output: Output) -> None:
    """Print a model's path, fetching it if need be.

    The path alone goes to standard output, progress to standard error. A lease keeps the model from
    eviction for --ttl from now (the daemon's default when not given), also after cachectl has ended; for a
    program that reads it longer, see `cachectl exec`.

    REF is a name of the catalog, name@revision, or a source URI where the daemon permits it.

    \b
    Examples:
      cachectl get minilm
      path=$(cachectl get --ttl 1h minilm@v2)
      cachectl get -o json s3://models/minilm
    """
    from cached.client import OperatorClient

    with OperatorClient(options.address, wait=RESTART) as client:
        take = partial(client.acquire, ref, ttl=ttl, holder=holder, timeout=options.timeout)
        grant = acquire(ref, options, lambda show: take(on_progress=show))
    answer = {
        "ref": ref,
        "path": str(grant.path),
        "tree": grant.tree,
        "lease": {
            "id": grant.lease.id,
            "expire_time": rfc3339(grant.lease.expires_at),
            "ttl": grant.lease.ttl,
        },
        "size_bytes": grant.size,
        "file_count": grant.file_count,
        "stale": grant.stale,
    }
    emit(output, answer, lambda: str(grant.path))
