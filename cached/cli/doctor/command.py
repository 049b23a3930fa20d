"""`cachectl doctor`."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from pathlib import Path

import click

from cached.cli import exits
from cached.cli.doctor import page
from cached.cli.finding import worst
from cached.cli.options import Options, Output, output, pass_options, shared
from cached.cli.render import emit


@click.command()
@click.option(
    "--config", metavar="FILE", type=click.Path(path_type=Path), envvar="CACHED_CONFIG", show_envvar=True,
    help="The daemon's settings. [default: those that it was started with]",
)  # fmt: skip
@click.option("--model", metavar="REF", default="", help="In a pod: a warm model to look for.")
@shared
@output
@pass_options
@click.pass_context
def doctor(ctx: click.Context, options: Options, config: Path | None, model: str, output: Output) -> None:
    """Look at this node from end to end, and say what is wrong and what to do.

    In a pod that uses models it looks at what the pod sees. It changes nothing, and works while the daemon
    does not. What cannot be seen from here is skipped, with the reason: run it as root on the node, and in
    the daemon's own container.

    Each check has seconds only, and no more than --timeout. The exit code is 17 when there is a problem;
    warnings are none.

    \b
    Examples:
      cachectl doctor
      kubectl -n cached-system exec ds/cached -- cachectl doctor
      cachectl doctor -o json | jq -r '.checks[].findings[] | select(.level == "problem") | .message'
    """
    from cached.cli.doctor.checks import CHECKS
    from cached.cli.doctor.run import examine
    from cached.cli.doctor.scene import open_scene

    scene = open_scene(options.address, config, model, os.environ)
    done = []
    for examined in examine(CHECKS[scene.view], scene, options.timeout or math.inf):
        done.append(examined)
        if output == "table":
            for line in page.lines(examined):
                page.show(line)
    levels = {each.name: worst(each.findings) for each in done}
    emit(
        output,
        {
            "view": scene.view.value,
            "well": not {"warning", "problem"} & set(levels.values()),
            "checks": [
                {
                    "name": each.name,
                    "level": levels[each.name],
                    "findings": [asdict(finding) for finding in each.findings],
                }
                for each in done
            ],
        },
        lambda: page.verdict(done),
    )
    if "problem" in levels.values():
        ctx.exit(exits.UNFIT)
