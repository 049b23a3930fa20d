"""`cachectl help`."""

from __future__ import annotations

import click

from cached.cli import exits

OUTPUT = """\
What -o json and -o yaml print. Names in capitals are messages of the API
(proto/cached/v1), with the same field names: sizes are integers of bytes, times
RFC 3339 in UTC, durations seconds, states lower-case words, and what is not known
is null. Fields may be added, never renamed or taken away.

  get            {ref, path, tree, lease: {id, expire_time, ttl}, size_bytes,
                  file_count, stale}
  ls             {artifacts: [ARTIFACT]}; refs of images begin with oci://
  describe       DESCRIBE_RESPONSE
  status         STATUS_RESPONSE
  peers          LIST_PEERS_RESPONSE
  warm           {results: [{ref, state, path, tree, size_bytes, fetched_bytes,
                  error}]}; state is accepted, fetching, unpacking, warm
                  or failed
  evict          {results: [{ref, freed_bytes, error}]}
  pin, unpin     {results: [{ref, artifact: ARTIFACT, error}]}
  verify         {done_bytes, total_bytes, corrupt: [{blob, refs}]}
  health         {status}; serving or not_serving
  doctor         {view, well, checks: [{name, level, findings: [{level, subject,
                  message, hint}]}]}; view is node or pod, level is ok, skipped,
                  warning or problem
  node ready     READINESS_RESPONSE
  node-init      {root, dry_run, settled, left: [{disk, reason}], steps: [{says,
                  how}], look_again}; settled is why disks need nothing, or null
  gardener osc   an OperatingSystemConfig of extensions.gardener.cloud/v1alpha1
  certs          {ca: {file, key_file, expire_time, made}, nodes: [{names,
                  expire_time, renewed, tls}]}; tls is what peers.tls must say
  config check   {file, kind, valid}
  containerd configure
                 {certs_d, dry_run, changes: [{file, action, diff}]}; action is
                  created, changed, unchanged, restored or removed
  containerd check
                 {well, findings: [{level, subject, message, hint}]}; level is
                  ok, warning or problem

error is null, or {reason, message, hint, retryable}. An error that ends the whole
command is told on standard error only, as with tables; see the exit code.
"""


@click.command("help")
@click.argument("topic", required=False)
@click.pass_context
def help_(ctx: click.Context, topic: str | None) -> None:
    """Explain a command, `exit-codes` or `output`."""
    root = ctx.find_root()
    assert isinstance(root.command, click.Group), "cachectl is a group"
    if topic is None:
        click.echo(root.get_help())
    elif topic == "exit-codes":
        click.echo(f"Exit codes of cachectl:\n\n{exits.table()}")
        click.echo("\nWhere several models were named, the code is that of the first that failed.")
        click.echo("exec ends with its program's own code once the program has started.")
    elif topic == "output":
        click.echo(OUTPUT, nl=False)
    elif (command := root.command.get_command(root, topic)) is not None:
        with click.Context(command, parent=root, info_name=topic) as inner:
            click.echo(command.get_help(inner))
    else:
        raise click.UsageError(f"no such command: {topic!r}; there are also the topics exit-codes and output")
