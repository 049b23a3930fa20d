"""Chunks from a source one by one: one attempt each, and the caller decides what comes after."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.errors import CachedError, Denied, DiskFault, NotFound, SourceChanged, SourceUnavailable
from cached.core.source import RangeRequest
from cached.kit.filepin import file_pin
from cached.transfer.opened import Opener
from cached.transfer.transfer import Failed, NoRanges, Single, SourceLimits, TransferOptions
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, Rig, rigged, some_bytes

DATA = some_bytes(12 * CHUNK + 77)
SECRET = "X-Amz-Signature=secret"
PATIENT = replace(QUICK, stall_timeout=60.0, give_up_after=600.0)


class One:
    """A file at a source, read chunk by chunk."""

    def __init__(self, rig: Rig, server: FaultyServer, etag: str, limits: SourceLimits) -> None:
        self.rig = rig
        self.sink = MemorySink(len(DATA))
        self.requests = [RangeRequest(f"{server.endpoint}/m.bin?{SECRET}", etag=etag)] * 3
        self.opened = 0
        self.single = single_of(rig, self.sink, self._open, limits)

    async def _open(self) -> RangeRequest:
        self.opened += 1
        return self.requests[self.opened - 1]

    async def get(self, index: int, rate: float = 0.0) -> None:
        assert await self.single.chunk(index, rate=rate) == blake3(chunk_of(index)).digest()


def chunk_of(index: int) -> bytes:
    return DATA[index * CHUNK : (index + 1) * CHUNK]


def single_of(rig: Rig, sink: MemorySink, opener: Opener, limits: SourceLimits | None = None) -> Single:
    return rig.transfer.single(
        sink, opener, origin="s3", label="s3://b/m.bin", limits=limits or SourceLimits()
    )


@asynccontextmanager
async def one_of(
    server: FaultyServer,
    files: Files,
    options: TransferOptions = QUICK,
    limits: SourceLimits | None = None,
) -> AsyncIterator[One]:
    etag = files.put("/m.bin", DATA)
    async with rigged(options) as rig:
        yield One(rig, server, etag, limits or SourceLimits())


async def test_chunks_come_in_the_order_asked_for_and_tell_what_they_hash_to(
    origin: FaultyServer, files: Files
) -> None:
    async with one_of(origin, files) as one:
        for index in (12, 0, 5):
            await one.get(index)
        assert one.rig.metrics.received.labels("s3")._value.get() == 2 * CHUNK + 77
        assert one.opened == 1
    assert one.sink.order == [12, 0, 5]
    assert len(origin.requests()) == 3


async def test_many_at_once_keep_to_the_bounds(origin: FaultyServer, files: Files) -> None:
    async with one_of(origin, files, limits=SourceLimits(bandwidth=4 * len(DATA))) as one:
        began = time.monotonic()
        await asyncio.gather(*(one.get(index) for index in range(13)))
        assert time.monotonic() - began > 0.2
        assert one.opened == 1
    assert one.sink.data == DATA


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(hang_up=True), "reset"),
        (Fault(cut=CHUNK // 2), "reset"),
        (Fault(stall=CHUNK // 2), "stall"),
        (Fault(status=500), "status"),
        (Fault(status=503), "throttled"),
        (Fault(status=429), "throttled"),
        (Fault(headers={"Content-Range": "nonsense"}), "protocol"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_failure_is_told_at_once(origin: FaultyServer, files: Files, fault: Fault, kind: str) -> None:
    origin.inject(fault)
    async with one_of(origin, files) as one:
        with pytest.raises(Failed) as raised:
            await one.get(0)
        assert raised.value.kind in (kind, "short")
        assert raised.value.after is None
        assert sum(one.rig.errors().values()) == 1
        assert len(origin.requests()) == 1
        one.rig.check_idle()
        await one.get(0)
    assert one.sink.order == [0]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(status=404), NotFound),
        (Fault(status=403), Denied),
        (Fault(status=412), SourceChanged),
        (Fault(headers={"ETag": '"another"'}), SourceChanged),
        (Fault(status=400), SourceUnavailable),
    ],
)
async def test_what_will_not_pass_is_an_error(
    origin: FaultyServer, files: Files, fault: Fault, error: type[CachedError]
) -> None:
    origin.inject(fault)
    async with one_of(origin, files) as one:
        with pytest.raises(error) as raised:
            await one.get(0)
        assert one.rig.errors() == {error.__name__: 1}
    assert "secret" not in str(raised.value)
    assert one.sink.order == []


async def test_a_source_that_asks_for_a_pause_gets_it_from_all(origin: FaultyServer, files: Files) -> None:
    origin.inject(Fault(status=503, headers={"Retry-After": "1"}))
    async with one_of(origin, files) as one:
        began = time.monotonic()
        with pytest.raises(Failed) as raised:
            await one.get(0)
        assert raised.value.after == 1.0
        assert time.monotonic() - began < 0.5, "what was asked for comes late"
        other = MemorySink(len(DATA))
        await one.rig.fetch(other, one.requests[0])
        assert time.monotonic() - began >= 1.0
    assert other.data == DATA


async def test_nobody_is_paused_for_longer_than_anybody_waits(origin: FaultyServer, files: Files) -> None:
    origin.inject(Fault(status=503, headers={"Retry-After": "3600"}))
    async with one_of(origin, files, replace(QUICK, give_up_after=0.5)) as one:
        with pytest.raises(Failed) as raised:
            await one.get(0)
        assert raised.value.after == 3600
        began = time.monotonic()
        await one.get(0)
        assert 0.3 < time.monotonic() - began < 1.5


async def test_a_source_without_ranges_is_for_a_fetch(origin: FaultyServer, files: Files) -> None:
    origin.inject(Fault(times=None, forget=frozenset({"range"})))
    async with one_of(origin, files) as one:
        with pytest.raises(NoRanges):
            await one.get(3)
        one.rig.check_idle()
        assert one.rig.errors() == {}
        await one.rig.fetch(one.sink, one.requests[0])
    assert one.sink.data == DATA


@pytest.mark.parametrize("refusals", [1, 2])
async def test_an_expired_request_is_opened_anew_once(
    origin: FaultyServer, files: Files, refusals: int
) -> None:
    origin.inject(Fault(times=refusals, status=403, before=lambda: time.sleep(0.15)))
    async with one_of(origin, files) as one:
        one.requests[0] = replace(one.requests[0], expires_at=time.time() + 0.1)
        if refusals == 1:
            await one.get(0)
        else:
            with pytest.raises(Denied):
                await one.get(0)
        assert one.opened == 2
    assert len(one.sink.order) == 2 - refusals


async def test_what_the_opener_raises_comes_through(origin: FaultyServer) -> None:
    async def away() -> RangeRequest:
        raise SourceUnavailable("no answer")

    async def gone() -> RangeRequest:
        raise NotFound("not there")

    async with rigged() as rig:
        with pytest.raises(Failed) as raised:
            await single_of(rig, MemorySink(len(DATA)), away).chunk(0)
        assert raised.value.kind == "open"
        with pytest.raises(NotFound):
            await single_of(rig, MemorySink(len(DATA)), gone).chunk(0)


async def test_a_full_disk_is_not_the_sources_fault(origin: FaultyServer, files: Files) -> None:
    def fail(index: int) -> None:
        raise DiskFault("no more")

    async with one_of(origin, files) as one:
        one.sink.before = fail
        with pytest.raises(DiskFault):
            await one.get(0)
        assert one.rig.errors() == {}


@pytest.mark.parametrize("local", [False, True], ids=["http", "file"])
async def test_a_chunk_comes_no_faster_than_its_rate(
    origin: FaultyServer, files: Files, tmp_path: Path, local: bool
) -> None:
    files.put("/m.bin", DATA)
    path = tmp_path / "m.bin"
    path.write_bytes(DATA)
    request = RangeRequest(f"{origin.endpoint}/m.bin")
    if local:
        request = RangeRequest(path.as_uri(), etag=file_pin(path.stat()))

    async def opener() -> RangeRequest:
        return request

    sink = MemorySink(len(DATA), len(DATA))
    async with rigged() as rig:
        single = single_of(rig, sink, opener)
        began = time.monotonic()
        assert await single.chunk(0, rate=2 * len(DATA)) == blake3(DATA).digest()
        assert 0.4 < time.monotonic() - began < 1.0
    assert sink.data == DATA


async def test_a_local_file_is_read_chunk_by_chunk(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    path.write_bytes(DATA)
    request = RangeRequest(path.as_uri(), etag=file_pin(path.stat()))

    async def opener() -> RangeRequest:
        return request

    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        single = single_of(rig, sink, opener)
        assert await single.chunk(4) == blake3(chunk_of(4)).digest()
        path.write_bytes(DATA[:-1])
        with pytest.raises(SourceChanged):
            await single.chunk(5)
    assert sink.order == [4]


@pytest.mark.parametrize("what", ["stall", "pause", "rate"])
async def test_a_cancel_ends_whatever_it_waits_for(origin: FaultyServer, files: Files, what: str) -> None:
    faults = {
        "stall": Fault(stall=CHUNK // 2),
        "pause": Fault(status=503, headers={"Retry-After": "60"}),
        "rate": Fault(),
    }
    origin.inject(faults[what])
    async with one_of(origin, files, PATIENT) as one:
        if what == "pause":
            with pytest.raises(Failed):
                await one.get(0)
        whole = MemorySink(len(DATA), len(DATA))
        single = single_of(one.rig, whole, one._open)
        task = asyncio.create_task(single.chunk(0, rate=CHUNK if what == "rate" else 0))
        await asyncio.sleep(0.15)
        assert not task.done()
        task.cancel()
        await asyncio.wait({task}, timeout=0.5)
        assert task.cancelled()
        one.rig.check_idle()
    assert whole.order == []
