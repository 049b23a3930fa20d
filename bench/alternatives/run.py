"""One measured run, in a process of its own, so that CPU and memory are its own."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import resource
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.alternatives.digest import open_digester
from bench.alternatives.receive import MIB, open_receiver
from bench.alternatives.variant import Variant
from bench.alternatives.write import Writer, aligned_buffer, open_writer


@dataclass(frozen=True)
class Measure:
    """What one run cost. `seconds` ends when the bytes are on the disk."""

    seconds: float
    seconds_written: float
    cpu_user: float
    cpu_system: float
    peak_rss_mib: float
    voluntary_switches: int
    buffers_mib: int


class Worker:
    """A thread's own connection, buffer and digester; the file is shared."""

    def __init__(self, variant: Variant, url: str, writer: Writer) -> None:
        hugepage = variant.write == "direct+hugepage"
        buffer = aligned_buffer(variant.chunk_mib * MIB, hugepage=hugepage)
        self._view = memoryview(buffer)
        if variant.receive == "none":
            self._view[:] = os.urandom(len(self._view))
        self._receiver = open_receiver(variant.receive, url)
        self._digest = open_digester(variant.digest)
        self._writer = writer

    def move(self, start: int) -> bytes:
        """Receive, digest, write: one thread, one hop for all three."""
        self._receiver.fetch(start, self._view)
        digest = self._digest(self._view)
        self._writer.write(start, self._view)
        return digest


def by_threads(workers: list[Worker], starts: range) -> None:
    """Plain threads that pull from one queue."""
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for start in starts:
        todo.put(start)
    failures: list[BaseException] = []

    def pull(worker: Worker) -> None:
        try:
            while not failures:
                worker.move(todo.get_nowait())
        except queue.Empty:
            return
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=pull, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


async def by_executor(workers: list[Worker], starts: range) -> None:
    """One run_in_executor per chunk, as many in flight as there are workers."""
    loop = asyncio.get_running_loop()
    free = asyncio.Queue[Worker]()
    for worker in workers:
        free.put_nowait(worker)

    async def one(worker: Worker, start: int) -> None:
        await loop.run_in_executor(pool, worker.move, start)
        free.put_nowait(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        async with asyncio.TaskGroup() as group:
            for start in starts:
                group.create_task(one(await free.get(), start))


def peak_rss_mib() -> float:
    """VmHWM. ru_maxrss would survive exec and could be the parent's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def run(variant: Variant, url: str, path: Path, size: int) -> Measure:
    """Move `size` bytes from `url` to `path`; `size` is a multiple of the chunk."""
    writer = open_writer(variant.write, path, size)
    workers = [Worker(variant, url, writer) for _ in range(variant.connections)]
    starts = range(0, size, variant.chunk_mib * MIB)
    before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    if variant.schedule == "threads":
        by_threads(workers, starts)
    else:
        asyncio.run(by_executor(workers, starts))
    written = time.perf_counter()
    writer.finish()
    ended, after = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    return Measure(
        seconds=ended - began,
        seconds_written=written - began,
        cpu_user=after.ru_utime - before.ru_utime,
        cpu_system=after.ru_stime - before.ru_stime,
        peak_rss_mib=peak_rss_mib(),
        voluntary_switches=after.ru_nvcsw - before.ru_nvcsw,
        buffers_mib=variant.chunk_mib * variant.connections,
    )


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    measured = run(Variant(**task["variant"]), task["url"], Path(task["path"]), task["size"])
    print(json.dumps(asdict(measured)))
