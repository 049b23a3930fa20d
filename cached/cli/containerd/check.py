"""`cachectl containerd check`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import click

from cached.cli import exits
from cached.cli.containerd.about_config import of_config, of_release
from cached.cli.containerd.about_hosts import of_default, of_leftover, of_mirror, of_registry
from cached.cli.containerd.certs_d import default_of, ours, place_of
from cached.cli.containerd.files import is_there
from cached.cli.containerd.hosts import Wanted
from cached.cli.containerd.installed import Installed, look
from cached.cli.containerd.options import certs_d_of, node_files
from cached.cli.containerd.probe import fault_of
from cached.cli.containerd.wanted import is_loopback, read_wanted
from cached.cli.finding import Finding
from cached.cli.options import Output, output
from cached.cli.render import emit
from cached.cli.text import plain
from cached.core.errors import InvalidRequest


@click.command()
@node_files
@output
@click.pass_context
def check(
    ctx: click.Context, config: Path, containerd_config: Path, certs_d: Path | None, output: Output
) -> None:
    """Look whether containerd is set up for the mirror, and say what to do.

    The exit code is 17 when there is a problem; warnings are none.

    \b
    Examples:
      cachectl containerd check
      cachectl containerd check -o json | jq -r '.findings[] | select(.level != "ok") | .message'
    """
    all_wanted = read_wanted(config)
    node = look(containerd_config)
    findings = list(findings_of(node, certs_d or certs_d_of(node), all_wanted))
    well = all(finding.level == "ok" for finding in findings)
    emit(
        output,
        {"well": well, "findings": [asdict(finding) for finding in findings]},
        lambda: _told(findings) + "\nall is well" * well,
    )
    if any(finding.level == "problem" for finding in findings):
        ctx.exit(exits.UNFIT)


def findings_of(node: Installed, certs_d: Path, all_wanted: list[Wanted]) -> Iterator[Finding]:
    """All that can be told of containerd and its mirror; all_wanted: at least one."""
    yield from of_config(node, certs_d)
    mirror = all_wanted[0].mirror
    yield from of_release(node, loopback=is_loopback(mirror.removeprefix("http://")))
    yield of_mirror(mirror, fault_of(mirror))
    default, places = default_of(certs_d), {}
    for each in all_wanted:
        try:
            place = places[each.registry] = place_of(certs_d, each.registry)
        except InvalidRequest as error:
            yield Finding("problem", each.registry, error.message, error.hint)
        else:
            yield of_registry(each, place, default, ca_is_there=not each.ca or is_there(each.ca))
    yield from of_default(default, places)
    yield from map(of_leftover, ours(certs_d, [each.registry for each in all_wanted]))


def _told(findings: Iterable[Finding]) -> str:
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<8} {plain(finding.subject)}: {plain(finding.message)}")
        if finding.hint:
            lines.append(f"{'':<8} {plain(finding.hint)}")
    return "\n".join(lines)
