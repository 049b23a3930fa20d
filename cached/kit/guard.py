"""Tasks that must never end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def forever(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work`; its end is an error, so that a task group stops the daemon rather than limp on."""
    try:
        await work()
    except Exception:
        log.exception("a task that must not fail has failed", extra={"task": name})
        raise
    raise RuntimeError(f"task {name} ended, which it never should")
