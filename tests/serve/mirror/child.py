"""A mirror in a process of its own, which can be stopped, blocked and killed.

`python -m tests.serve.mirror.child DIRECTORY WEDGED` serves one blob, DATA, and does what its standard input
says: `block N` blocks the event loop for N seconds, `hold N` keeps the interpreter's lock, `count NAME`
answers with a metric, `end` stops.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil

from cached.core.digest import Digest
from cached.serve.mirror.server import MirrorOptions, MirrorServer
from cached.telemetry.metrics import Metrics
from tests.serve.mirror.house import PATIENCE, Client
from tests.serve.mirror.images import REPOSITORY, FakeImages

MIB = 1 << 20
DATA = random.Random(5).randbytes(4 * MIB)
HERE = 3 * MIB  # bytes of it that arrive
PATH = f"/v2/{REPOSITORY.name}/blobs/{Digest.sha256(DATA)}"


class Child:
    """What a test sees of it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, guard: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.guard = guard
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text()

    async def client(self) -> Client:
        return await Client.connect(self.port)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.encode() + b"\n")

    async def hear(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().strip()

    async def count(self, name: str) -> float:
        self.say(f"count {name}")
        return float(await self.hear())


@asynccontextmanager
async def child(root: Path, wedged: float = 0.6, stderr: int | None = None) -> AsyncIterator[Child]:
    """A running one; whatever is left of it at the end is killed. stderr: instead of a file."""
    log = root / "log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.serve.mirror.child", str(root), str(wedged)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file if stderr is None else stderr,
        )
    guard = None
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            said = json.loads(await process.stdout.readline())
        guard = said["guard"]
        yield Child(process, said["port"], guard, log)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if guard is not None and is_alive(guard):
            os.kill(guard, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def _serve(root: Path, wedged: float) -> None:
    images, metrics = FakeImages(root), Metrics()
    images.blobs[images.add_blob(DATA)].here = HERE
    server = MirrorServer("127.0.0.1:0", images, metrics, MirrorOptions(wedged=wedged))
    port = await server.start()
    process = server._door._process
    assert process is not None
    print(json.dumps({"port": port, "guard": process.pid}), flush=True)
    lines = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while (words := (await lines.readline()).decode().split()) and words != ["end"]:
        if words[0] == "block":
            time.sleep(float(words[1]))  # noqa: ASYNC251 - that is the point
        elif words[0] == "hold":
            ctypes.PyDLL(None).usleep(int(float(words[1]) * 1e6))
        else:
            print(metrics.registry.get_sample_value(words[1]), flush=True)
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), float(sys.argv[2])))
