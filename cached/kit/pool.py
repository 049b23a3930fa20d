"""Named, bounded thread pools for work that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Pool:
    """Threads with a name and a bound, so that no kind of work can starve another.

    When the awaiting task is cancelled, work that has not begun never begins; work that has begun
    runs to its end and its result is dropped: whoever gave it cleans up inside it.
    """

    def __init__(self, name: str, workers: int) -> None:
        self.executor = ThreadPoolExecutor(workers, thread_name_prefix=f"cached-{name}")

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.executor, lambda: work(*args, **kwargs))

    def close(self) -> None:
        """Drop what has not begun and wait for what has."""
        self.executor.shutdown(wait=True, cancel_futures=True)
