"""A cancelled fetch ends at once, whatever it waits for, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import replace

import pytest

from cached.core.source import RangeRequest
from cached.transfer.transfer import SourceLimits
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, Rig, rigged, some_bytes

DATA = some_bytes(20 * CHUNK)
PATIENT = replace(QUICK, stall_timeout=60.0, connect_timeout=60.0, give_up_after=600.0)


async def cancel(
    rig: Rig, sink: MemorySink, request: RangeRequest, limits: SourceLimits | None = None
) -> float:
    """Begin a fetch, cancel it while it waits, and tell how many seconds that took."""
    task = asyncio.create_task(rig.fetch(sink, request, limits=limits or SourceLimits()))
    await asyncio.sleep(0.2)
    assert not task.done()
    began = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    took = time.monotonic() - began
    rig.check_idle()
    return took


@pytest.mark.parametrize(
    "fault",
    [
        Fault(times=None, stall=0),
        Fault(times=None, stall=CHUNK // 2),
        Fault(times=None, rate=5000.0),
        Fault(times=None, status=503, headers={"Retry-After": "60"}),
        Fault(times=None, forget=frozenset({"range"}), stall=3 * CHUNK),
    ],
    ids=["no body", "half a body", "a drip", "a pause", "no ranges"],
)
async def test_whatever_the_server_does(origin: FaultyServer, files: Files, fault: Fault) -> None:
    files.put("/m.bin", DATA)
    origin.inject(fault)
    async with rigged(PATIENT) as rig:
        assert await cancel(rig, MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin")) < 1.0
        origin.heal()
        sink = MemorySink(len(DATA))
        rig.transfer._gear.gate._turns._paused.clear()
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
        assert sink.data == DATA


async def test_a_head_that_never_comes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        async with rigged(PATIENT) as rig:
            assert await cancel(rig, MemorySink(len(DATA)), RangeRequest(url)) < 1.0


async def test_a_connection_that_never_comes_about() -> None:
    """A TLS handshake that nobody answers: the dialling thread is left to itself."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        async with rigged(replace(PATIENT, connect_timeout=1.0)) as rig:
            assert await cancel(rig, MemorySink(len(DATA)), RangeRequest(url)) < 1.0


async def test_a_turn_that_does_not_come(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    async with rigged(PATIENT) as rig:
        limits = SourceLimits(bandwidth=CHUNK)  # a chunk per second
        assert (
            await cancel(rig, MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"), limits) < 1.0
        )


async def test_a_write_that_has_begun_is_waited_for(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    sink = MemorySink(len(DATA))
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(index: int) -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(10)

    sink.before = slow
    async with rigged(PATIENT) as rig:
        task = asyncio.create_task(rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin")))
        await begun.wait()
        for _ in range(3):  # however often it is cancelled
            task.cancel()
            await asyncio.sleep(0.05)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sink.order, "the write that had begun was lost"


async def test_other_fetches_go_on(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    files.put("/n.bin", DATA)
    origin.inject(Fault(path="/m.bin", times=None, stall=0))
    sink = MemorySink(len(DATA))
    async with rigged(PATIENT) as rig:
        stuck = asyncio.create_task(
            rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"))
        )
        await asyncio.sleep(0.1)
        other = asyncio.create_task(rig.fetch(sink, RangeRequest(f"{origin.endpoint}/n.bin")))
        await asyncio.sleep(0.1)
        stuck.cancel()
        await other
        assert stuck.cancelled()
    assert sink.data == DATA


async def test_cancelled_at_any_moment_everything_is_back(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    async with rigged() as rig:
        for step in range(60):
            task = asyncio.create_task(
                rig.fetch(MemorySink(len(DATA)), RangeRequest(f"{origin.endpoint}/m.bin"))
            )
            await asyncio.sleep(step * 0.001)
            task.cancel()
            await asyncio.wait({task})
            rig.check_idle()
        sink = MemorySink(len(DATA))
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
        assert sink.data == DATA
