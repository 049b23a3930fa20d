"""Servers that send the whole file, whatever range was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cached.core.errors import SourceChanged
from cached.core.source import RangeRequest
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(9 * CHUNK + 5)
NO_RANGES = frozenset({"range"})


@pytest.mark.parametrize("have", [[], [0, 1, 5], [9], list(range(1, 10))])
async def test_one_get_fills_what_is_missing_in_order(
    origin: FaultyServer, files: Files, have: Sequence[int]
) -> None:
    etag = files.put("/m.bin", DATA)
    origin.inject(Fault(times=None, forget=NO_RANGES))
    sink = MemorySink(len(DATA), have=have)
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin", etag=etag))
        assert rig.received == sum(min(CHUNK, len(DATA) - i * CHUNK) for i in sink.order)
        assert rig.errors() == {}
    assert sink.order == sorted(set(range(10)) - set(have))
    for index in sink.order:
        assert sink.data[index * CHUNK :][:CHUNK] == DATA[index * CHUNK :][:CHUNK]
    assert [seen.span for seen in origin.requests() if not seen.span] == [None]


async def test_a_file_of_one_chunk_needs_no_second_request(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA[:100])
    origin.inject(Fault(times=None, forget=NO_RANGES))
    sink = MemorySink(100)
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
    assert sink.data == DATA[:100]
    assert len(origin.requests()) == 1


async def test_a_body_that_breaks_off_begins_anew_and_keeps_what_is_there(
    origin: FaultyServer, files: Files
) -> None:
    files.put("/m.bin", DATA)
    lanes = QUICK.connections
    origin.inject(Fault(skip=lanes, cut=4 * CHUNK + 9, forget=NO_RANGES))
    origin.inject(Fault(skip=0, times=None, forget=NO_RANGES))
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin"))
    assert sink.data == DATA
    assert sink.order == list(range(10))


async def test_a_file_that_changes_before_the_body_begins_anew_is_noticed(
    origin: FaultyServer, files: Files
) -> None:
    etag = files.put("/m.bin", DATA)
    other = some_bytes(len(DATA), seed=2)
    origin.inject(Fault(times=2, forget=NO_RANGES, cut=5 * CHUNK))
    origin.inject(Fault(times=None, forget=NO_RANGES, before=lambda: files.put("/m.bin", other)))
    sink = MemorySink(len(DATA))
    async with rigged(replace(QUICK, connections=1)) as rig:
        with pytest.raises(SourceChanged):
            await rig.fetch(sink, RangeRequest(f"{origin.endpoint}/m.bin", etag=etag))
    for index in sink.order:
        assert sink.data[index * CHUNK :][:CHUNK] == DATA[index * CHUNK :][:CHUNK]
