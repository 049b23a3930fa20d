"""`cachectl node-init`: what a node needs before cached starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cached.cli.complain import warn
from cached.cli.containerd.wanted import USUAL
from cached.cli.node.plan import Plan
from cached.cli.node.prepare import alone, do, planned, prepare
from cached.cli.node.steps import Run, Step
from cached.cli.node.wish import LOCAL_MODELS, Wish
from cached.cli.options import Output, output
from cached.cli.parts import daemons_part
from cached.cli.render import emit
from cached.cli.text import columns
from cached.core.errors import CachedError, NotConfigured

if TYPE_CHECKING:
    from cached.config.settings import Settings


@click.command("node-init")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar="CACHED_CONFIG",
    default=USUAL,
    show_default=True,
    help="The daemon's settings.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and change nothing.")
@click.option(
    "--disk-model",
    "models",
    metavar="GLOB",
    multiple=True,
    help="Take blank disks of this model; may be given more than once. [default: the local disks of AWS, "
    "Azure and Google]",
)
@click.option(
    "--disk",
    "disks",
    metavar="PATH",
    multiple=True,
    help="Take this whole disk, whatever its model, and no others; may be given more than once.",
)
@click.option(
    "--containerd/--no-containerd",
    default=True,
    show_default=True,
    help="Have containerd ask cached for images, if images.mirror is set.",
)
@output
def node_init(
    config: Path,
    dry_run: bool,
    models: tuple[str, ...],
    disks: tuple[str, ...],
    containerd: bool,
    output: Output,
) -> None:
    """Prepare this node's disks and containerd, and start cached.

    Blank local NVMe disks become one xfs filesystem, striped over them by RAID 0 if there are several, and
    mounted where the settings have their `root`. Disks that carry anything are never written to; what an
    earlier run has made is found by its label and mounted again. Without local disks, or where `root` is
    mounted already, disks are left as they are. It waits for no download, and may be run at any time.

    \b
    Examples:
      cachectl node-init --dry-run
      cachectl node-init --disk-model 'SAMSUNG MZQL2*'
      cachectl node-init --disk /dev/disk/by-id/nvme-eui.36344730 --no-containerd
    """  # fmt: skip
    if models and disks:
        raise click.UsageError("--disk takes the named disks and no others: leave --disk-model out")
    with daemons_part("read the settings"):
        from cached.config.settings import load
    settings = load(config, os.environ)
    names = tuple(os.path.basename(os.path.realpath(disk)) for disk in disks)
    wish = Wish(settings.root, models or LOCAL_MODELS, names)
    then = _then(settings, config, containerd)
    if dry_run:
        plan = planned(wish)
    else:
        with alone():
            plan = prepare(wish, _tell)
            for step in then:
                _attempt(step)
    steps = (*plan.steps, *then)
    emit(output, _fields(wish, plan, steps, dry_run), lambda: _told(plan, steps, dry_run))


def _then(settings: Settings, config: Path, containerd: bool) -> tuple[Run, ...]:
    """What follows once the data directory is in place."""
    cachectl = str(Path(sys.executable).with_name("cachectl"))
    configure = Run(
        "have containerd ask cached for images",
        (cachectl, "containerd", "configure", "--config", str(config)),
        needed=False,
    )
    # Without waiting: the unit of this command comes before cached.service, and must end first.
    start = Run("start cached", ("systemctl", "start", "--no-block", "cached.service"))
    return (configure, start) if containerd and settings.images.mirror else (start,)


def _attempt(step: Run) -> None:
    _tell(step)
    try:
        do(step, NotConfigured)
    except CachedError as error:
        if step.needed:
            raise
        warn(str(error))


def _tell(step: Step) -> None:
    click.echo(f"{step.says}: {step.how}", err=True)


def _fields(wish: Wish, plan: Plan, steps: Sequence[Step], dry_run: bool) -> dict[str, object]:
    return {
        "root": str(wish.root),
        "dry_run": dry_run,
        "settled": plan.settled or None,
        "left": [{"disk": disk, "reason": reason} for disk, reason in plan.left],
        "steps": [{"says": step.says, "how": step.how} for step in steps],
        "look_again": plan.again,
    }


def _told(plan: Plan, steps: Sequence[Step], dry_run: bool) -> str:
    parts = [plan.settled] if plan.settled else []
    if plan.left:
        parts.append(columns([("DISK", "LEFT ALONE: IT"), *plan.left]))
    if dry_run:
        parts.append(columns([("WOULD", "BY"), *((step.says, step.how) for step in steps)]))
    if plan.again:
        parts.append("Then it would look again, at what the array carries.")
    return "\n\n".join(parts)
