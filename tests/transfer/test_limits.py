"""Bounds on speed, connections and memory, and who gets how much of them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import psutil
import pytest

from cached.core.chunks import MAX_CHUNK
from cached.core.sink import Buffer
from cached.core.source import RangeRequest
from cached.transfer.transfer import SourceLimits
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Answer, Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(40 * CHUNK)


@pytest.mark.parametrize("shared", [True, False], ids=["global", "of the source"])
async def test_bandwidth_is_kept_to_and_used(origin: FaultyServer, files: Files, shared: bool) -> None:
    files.put("/m.bin", DATA)
    rate = len(DATA)  # so that all of it takes a second
    options = replace(QUICK, bandwidth=rate if shared else 0)
    limits = SourceLimits(bandwidth=0 if shared else rate)
    async with rigged(options) as rig:
        began = time.monotonic()
        await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"), limits=limits)
        took = time.monotonic() - began
    assert 39 / 40 <= took < 2.0


async def test_two_fetches_share_one_bandwidth(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    files.put("/n.bin", DATA)
    async with rigged(replace(QUICK, bandwidth=2 * len(DATA))) as rig:
        began = time.monotonic()
        ends: list[float] = []

        async def fetch(path: str) -> None:
            await rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}{path}"))
            ends.append(time.monotonic() - began)

        await asyncio.gather(fetch("/m.bin"), fetch("/n.bin"))
    assert 0.9 <= ends[0] <= ends[1] < 2.0


async def test_a_source_gets_no_more_connections_than_it_may(files: Files) -> None:
    files.put("/m.bin", DATA)
    running, most = Counter[str](), Counter[str]()
    lock = threading.Lock()

    def arrive() -> None:
        with lock:
            running["now"] += 1
            most["ever"] = max(most["ever"], running["now"])
        time.sleep(0.01)
        with lock:
            running["now"] -= 1

    with FaultyServer(files) as server:
        server.inject(Fault(times=None, before=arrive))
        async with rigged() as rig:
            fetches = [
                rig.fetch(
                    MemorySink(len(DATA)),
                    RangeRequest(f"{server.endpoint}/m.bin"),
                    limits=SourceLimits(connections=2),
                )
                for _ in range(3)
            ]
            await asyncio.gather(*fetches)
    assert most["ever"] == 2


async def test_a_small_fetch_is_not_starved_by_a_huge_one(origin: FaultyServer, files: Files) -> None:
    files.put("/huge.bin", DATA)
    files.put("/small.bin", DATA[: 2 * CHUNK])
    origin.inject(Fault(times=None, before=lambda: time.sleep(0.01)))
    huge, small = MemorySink(len(DATA)), MemorySink(2 * CHUNK)
    async with rigged() as rig:
        slow = asyncio.create_task(rig.fetch(huge, RangeRequest(f"{origin.endpoint}/huge.bin")))
        await asyncio.sleep(0.02)
        done = len(huge.order)
        await rig.fetch(small, RangeRequest(f"{origin.endpoint}/small.bin"))
        assert not slow.done()
        assert len(huge.order) - done <= 3 * QUICK.connections
        await slow


class HoardingSink(MemorySink):
    """Keeps every buffer that it may, as a store does that hashes in order."""

    def __init__(self, size: int, chunk_size: int) -> None:
        super().__init__(size, chunk_size)
        self.hoard: list[Buffer] = []
        self.refused = 0

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        with self._lock:
            if buffer.try_retain():
                self.hoard.append(buffer)
            else:
                self.refused += 1
        super().put(index, buffer, blake3)


async def test_retained_buffers_do_not_stop_a_fetch(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    sink = HoardingSink(len(DATA), CHUNK)
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
        assert len(sink.hoard) == QUICK.spare_buffers
        assert sink.refused == 40 - QUICK.spare_buffers
        for buffer in sink.hoard:
            buffer.release()
    assert sink.data == DATA


class NullSink(MemorySink):
    """Forgets what it is given, but not how much memory the process had then."""

    def __init__(self, size: int) -> None:
        super().__init__(0, MAX_CHUNK)
        self.size = size
        self.most_memory = 0

    def put(self, index: int, buffer: Buffer, blake3: bytes) -> None:
        with self._lock:
            self.most_memory = max(self.most_memory, psutil.Process().memory_info().rss)


class Zeros:
    """An upstream of one file of zeros that takes no memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._block = bytes(1 << 18)

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
        said = {"Content-Range": f"bytes {first}-{last}/{self._size}"}
        count = (last + 1 - first) // len(self._block)
        return Answer(206, said, last + 1 - first, itertools.repeat(self._block, count))


async def test_memory_is_a_constant_and_not_a_function_of_the_size() -> None:
    size, allowed = 512 << 20, (QUICK.connections + QUICK.spare_buffers) * MAX_CHUNK
    sink = NullSink(size)
    with FaultyServer(Zeros(size)) as server:
        async with rigged() as rig:
            before = psutil.Process().memory_info().rss
            await rig.fetch(sink, RangeRequest(f"{server.endpoint}/zeros.bin"))
            gear = rig.transfer._gear
            assert gear.buffers.idle <= QUICK.connections + QUICK.spare_buffers
            assert sink.most_memory - before < allowed + (24 << 20)
            rig.transfer._trim()
    assert psutil.Process().memory_info().rss - before < 24 << 20
