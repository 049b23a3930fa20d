"""`cachectl containerd configure`."""

from __future__ import annotations

from pathlib import Path

import click

from cached.cli.complain import warn
from cached.cli.containerd import dropin
from cached.cli.containerd.about_config import of_config
from cached.cli.containerd.certs_d import default_of, ours, place_of
from cached.cli.containerd.files import Change, apply, is_there, sweep, undone
from cached.cli.containerd.hosts import Wanted, configured
from cached.cli.containerd.installed import Installed, look
from cached.cli.containerd.options import certs_d_of, node_files
from cached.cli.containerd.wanted import read_wanted
from cached.cli.options import Output, output
from cached.cli.render import emit
from cached.cli.text import columns
from cached.core.errors import InvalidRequest


@click.command()
@node_files
@click.option("--write-config", is_flag=True, help="Set containerd's config_path, too, where that is safe.")
@click.option("--undo", is_flag=True, help="Put everything back as it was.")
@click.option("--dry-run", is_flag=True, help="Show what would change, and change nothing.")
@output
def configure(
    config: Path,
    containerd_config: Path,
    certs_d: Path | None,
    write_config: bool,
    undo: bool,
    dry_run: bool,
    output: Output,
) -> None:
    """Write hosts.toml for each registry of images.upstreams.

    containerd then asks the mirror first, and the registry while the mirror is down or does not have an
    image. What you have written into these files stays, after our entry; a file as it was is kept beside it,
    as hosts.toml.before-cached. containerd reads these files at each pull.

    \b
    Examples:
      cachectl containerd configure --dry-run
      cachectl containerd configure --write-config
      cachectl containerd configure --undo
    """
    if undo and write_config:
        raise click.UsageError("--undo takes back what --write-config did, too: give it alone")
    node = look(containerd_config)
    directory = certs_d or certs_d_of(node)
    hosts = _undoing(node, directory) if undo else _configuring(read_wanted(config), directory)
    is_set = node.registries.config_path == str(directory)
    settings = dropin.changes(node, directory) if write_config and not is_set else []
    if not dry_run:
        sweep(directory, node.main.parent)
        apply(hosts)
        _set(node, directory, settings)
    changes = [*hosts, *settings]
    emit(
        output,
        {
            "certs_d": str(directory),
            "dry_run": dry_run,
            "changes": [
                {"file": str(each.file), "action": each.action, "diff": each.diff} for each in changes
            ],
        },
        lambda: _told(changes, dry_run=dry_run),
    )
    if any(each.before != each.after for each in changes if each.file.name != "hosts.toml"):
        if not dry_run:
            warn(dropin.RESTART)
    elif not undo:
        for finding in of_config(node, directory):
            if finding.level == "problem":
                warn(finding.message, finding.hint)


def _configuring(all_wanted: list[Wanted], certs_d: Path) -> list[Change]:
    """What each registry lacks, and what stands there for those that are no upstreams any more.

    Raises InvalidRequest, before anything is changed.
    """
    default = default_of(certs_d)
    changes = []
    for each in all_wanted:
        if each.ca and not is_there(each.ca):
            raise InvalidRequest(
                f"{each.ca} is not there: containerd would refuse each pull from {each.registry}",
                hint=f"put it there, or mend images.upstreams of {each.registry}",
            )
        place = place_of(certs_d, each.registry)
        changes.append(Change(place.file, place.text, configured(each, place, default), place.missing))
    left = ours(certs_d, [each.registry for each in all_wanted])
    return changes + [change for file in left if (change := undone(file))]


def _undoing(node: Installed, certs_d: Path) -> list[Change]:
    return [change for file in [*dropin.undoable(node), *ours(certs_d)] if (change := undone(file))]


def _set(node: Installed, certs_d: Path, changes: list[Change]) -> None:
    """Change containerd's settings, unless that turns out to change more than was meant."""
    apply(changes)
    fault = dropin.spoilt(node, look(node.main), certs_d) if changes else ""
    if fault:
        apply([undoing for each in reversed(changes) if (undoing := undone(each.file))])
        raise InvalidRequest(
            f"containerd's settings are as they were: with a file of ours, {fault}",
            hint=dropin.advice(node, certs_d),
        )


def _told(changes: list[Change], *, dry_run: bool) -> str:
    if all(each.before == each.after for each in changes):
        return "nothing to change"
    if dry_run:
        return "".join(each.diff for each in changes).rstrip("\n")
    return columns([("FILE", "ACTION"), *((str(each.file), each.action) for each in changes)])
