"""Acquiring one model with its progress shown: what `get` and `exec` share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from cached.cli.complain import warn
from cached.cli.options import Options
from cached.cli.progress import open_display
from cached.kit.units import show_bytes, show_seconds

if TYPE_CHECKING:
    from cached.client import Model
    from cached.client.grant import Grant, OnProgress

    T = TypeVar("T", Model, Grant)

# Seconds to wait for a daemon that is not there, unless --timeout says more: it may be restarting.
RESTART = 2.0


def acquire(ref: str, options: Options, take: Callable[[OnProgress], T]) -> T:
    """What `take` returns, with what it tells of its progress shown. Raises what it raises."""
    began = time.monotonic()
    with open_display(options.quiet) as display:
        try:
            model = take(lambda progress: display.update(ref, progress))
        except BaseException:
            display.finish(ref, "not ready", well=False)
            raise
        display.finish(
            ref, f"{show_bytes(model.size)} ready in {show_seconds(time.monotonic() - began)}", well=True
        )
    if model.stale:
        warn(f"the source of {ref} does not answer; this is the revision last known")
    return model
