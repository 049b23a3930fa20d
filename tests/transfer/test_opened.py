"""Requests that expire, and requests that are refused."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Mapping
from dataclasses import replace

import pytest

from cached.core.errors import Denied, NotFound, SourceUnavailable
from cached.core.source import RangeRequest
from tests.servers.faulty import FaultyServer
from tests.servers.upstream import Answer, Files
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(30 * CHUNK)
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"


class Signed(Files):
    """Serves what bears the current signature, and refuses anything else as an S3 server does."""

    def __init__(self) -> None:
        super().__init__()
        self.signature = 0
        self.served = 0
        self.lasts: int | None = None  # answers after which the signature expires

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        if self.lasts is not None and self.served >= self.lasts:
            self.signature += 1
            self.served = 0
        if not target.endswith(f"signature={self.signature}"):
            return Answer(403, {}, len(EXPIRED), iter([EXPIRED]))
        self.served += 1
        return super().answer(method, target, headers, body)


async def test_a_request_is_opened_once_and_again_only_when_it_expires(files: Files) -> None:
    files.put("/m.bin", DATA)
    opened: list[float] = []
    with FaultyServer(files) as server:

        def opener() -> RangeRequest:
            opened.append(time.time())
            return RangeRequest(f"{server.endpoint}/m.bin?{len(opened)}", expires_at=time.time() + 0.5)

        async with rigged(replace(QUICK, bandwidth=len(DATA))) as rig:
            await rig.fetch(MemorySink(len(DATA)), opener)
    assert len(opened) in (2, 3)
    for before, after in itertools.pairwise(opened):
        assert 0.4 <= after - before <= 1.0


async def test_many_lanes_open_once(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    opened = 0

    async def opener() -> RangeRequest:
        nonlocal opened
        opened += 1
        await asyncio.sleep(0.05)
        return RangeRequest(f"{origin.endpoint}/m.bin")

    async with rigged() as rig:
        sink = MemorySink(len(DATA))
        await rig.transfer.fetch(sink, opener, origin="s3", label="u", on_bytes=lambda count: None)
    assert opened == 1


async def test_a_signature_that_runs_out_early_is_renewed() -> None:
    files = Signed()
    files.put("/m.bin", DATA)
    files.lasts = 12
    sink = MemorySink(len(DATA))
    with FaultyServer(files) as server:
        async with rigged() as rig:
            await rig.fetch(
                sink, lambda: RangeRequest(f"{server.endpoint}/m.bin?signature={files.signature}")
            )
            assert rig.errors() == {}
    assert sink.data == DATA


async def test_a_signature_that_is_never_right_is_denied_after_one_more_try() -> None:
    files = Signed()
    files.put("/m.bin", DATA)
    opened = 0

    def opener() -> RangeRequest:
        nonlocal opened
        opened += 1
        return RangeRequest(f"{server.endpoint}/m.bin?signature=wrong")

    with FaultyServer(files) as server:
        async with rigged() as rig:
            with pytest.raises(Denied, match="403 AccessDenied"):
                await rig.fetch(MemorySink(len(DATA)), opener)
    assert opened == 2


async def test_an_opener_that_says_no_ends_the_fetch() -> None:
    gone = NotFound("s3://b/m.bin is not there")

    def opener() -> RangeRequest:
        raise gone

    async with rigged() as rig:
        with pytest.raises(NotFound) as raised:
            await rig.fetch(MemorySink(len(DATA)), opener)
    assert raised.value is gone


async def test_an_opener_whose_source_is_down_is_asked_again(origin: FaultyServer, files: Files) -> None:
    files.put("/m.bin", DATA)
    calls = 0

    def opener() -> RangeRequest:
        nonlocal calls
        calls += 1
        if calls < 4:
            raise SourceUnavailable("s3://b/m.bin: no answer")
        return RangeRequest(f"{origin.endpoint}/m.bin")

    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        await rig.fetch(sink, opener)
        assert rig.errors() == {}, "the source has counted them already"
    assert sink.data == DATA

    def never() -> RangeRequest:
        raise SourceUnavailable("s3://b/m.bin: no answer")

    async with rigged(replace(QUICK, give_up_after=0.5)) as rig:
        with pytest.raises(SourceUnavailable, match=r"no progress for .* last: s3://b/m\.bin: no answer"):
            await rig.fetch(MemorySink(len(DATA)), never)
