"""The real servers in a loop of their own, for clients that block."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from cached.serve.api import ApiServer, Listen
from cached.telemetry.metrics import Metrics
from tests.serve.fake_engine import FakeEngine

T = TypeVar("T")


class Daemon:
    """Starts, stops and starts again on the same sockets, over one engine."""

    def __init__(self, run: Path, trees: Path) -> None:
        self.pods = run / "pods/cached.sock"
        self.operators = run / "operator/cached.sock"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server: ApiServer | None = None
        self.engine = FakeEngine(trees)

    def start(self) -> None:
        self._do(self._start())

    async def _start(self) -> None:
        self._server = ApiServer(
            self.engine, Metrics(), pods=Listen(self.pods), operators=Listen(self.operators)
        )
        await self._server.start()
        await self._server.set_serving(True)

    def stop(self, grace: float = 0) -> None:
        """Stop serving, as at a restart; leases stand."""
        if self._server is not None:
            self._do(self._server.stop(grace))
            self._server = None

    def end(self) -> None:
        """Stop for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def set(self, event: asyncio.Event) -> None:
        self._loop.call_soon_threadsafe(event.set)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextmanager
def program(code: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process of its own, which does not outlive the test, nor do its children."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until(true: Callable[[], object], seconds: float = 10) -> None:
    """Wait for something that another thread brings about."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


async def auntil(true: Callable[[], object], seconds: float = 10) -> None:
    """The same without blocking the loop."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110  # it happens in another thread, which sets no event
            await asyncio.sleep(0.01)
