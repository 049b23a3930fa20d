"""Tasks that begin and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all at once. The first error cancels the others, and is raised when all have ended.

    A TaskGroup of Python 3.11 will not do: after an error it leaves its own cancel counted on the
    caller's task, and lets the error hide a cancel from outside.
    """
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        await ended(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()


async def ended(futures: Iterable[asyncio.Future[Any]]) -> None:
    """Wait until all have ended, however they end, and however often the waiting is cancelled.

    A cancel is raised after that.
    """
    cancelled: asyncio.CancelledError | None = None
    pending = set(futures)
    while pending:
        try:
            done, pending = await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
            done = {future for future in pending if future.done()}
            pending -= done
        for future in done:
            if not future.cancelled():
                future.exception()  # seen: it is no longer reported as never retrieved
    if cancelled is not None:
        raise cancelled
