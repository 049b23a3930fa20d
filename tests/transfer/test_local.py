"""Ranges of local files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from cached.core.errors import Denied, NotFound, SourceChanged
from cached.core.source import RangeRequest
from cached.kit.filepin import file_pin
from cached.transfer.answer import Wanted
from cached.transfer.part import FileReader
from tests.transfer.rig import CHUNK, QUICK, MemorySink, rigged, some_bytes

DATA = some_bytes(12 * CHUNK + 1)


def request_for(path: Path) -> RangeRequest:
    return RangeRequest(path.as_uri(), etag=file_pin(path.stat()))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "a b%20ü#?.bin"
    path.write_bytes(DATA)
    return path


async def test_a_local_file_is_read_whatever_its_name(model: Path) -> None:
    sink = MemorySink(len(DATA), have=[2])
    async with rigged() as rig:
        await rig.fetch(sink, request_for(model))
        assert rig.received == len(DATA) - CHUNK
    for index in sink.order:
        assert sink.data[index * CHUNK :][:CHUNK] == DATA[index * CHUNK :][:CHUNK]


def rewrite(path: Path) -> None:
    path.write_bytes(some_bytes(len(DATA), seed=2))


def replace_by_another(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(some_bytes(len(DATA), seed=2))
    os.rename(other, path)


def truncate(path: Path) -> None:
    os.truncate(path, 100)


@pytest.mark.parametrize("change", [rewrite, replace_by_another, truncate])
async def test_a_file_that_changes_in_between_is_never_mixed(model: Path, change: object) -> None:
    assert callable(change)
    sink = MemorySink(len(DATA))
    sink.before = lambda index: change(model) if index == 3 else None
    async with rigged(replace(QUICK, connections=1)) as rig:
        with pytest.raises(SourceChanged, match="changed while it was fetched"):
            await rig.fetch(sink, request_for(model))
    for index in sink.order:
        assert sink.data[index * CHUNK :][:CHUNK] == DATA[index * CHUNK :][:CHUNK]


async def test_a_file_that_changes_while_it_is_read_is_not_taken(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = FileReader._read

    def read_while_it_changes(
        self: FileReader, fd: int, wanted: Wanted, offset: int, view: memoryview
    ) -> None:
        read(self, fd, wanted, offset, view)
        rewrite(model)

    monkeypatch.setattr(FileReader, "_read", read_while_it_changes)
    sink = MemorySink(len(DATA))
    async with rigged() as rig:
        with pytest.raises(SourceChanged):
            await rig.fetch(sink, request_for(model))
    assert sink.order == []


async def test_a_file_that_is_gone(model: Path) -> None:
    request = request_for(model)
    os.unlink(model)
    async with rigged() as rig:
        with pytest.raises(NotFound):
            await rig.fetch(MemorySink(len(DATA)), request)


async def test_a_fifo_in_its_place_does_not_hold_the_fetch(model: Path) -> None:
    request = request_for(model)
    os.unlink(model)
    os.mkfifo(model)
    async with rigged() as rig:
        with pytest.raises(SourceChanged):
            await rig.fetch(MemorySink(len(DATA)), request)


async def test_a_file_that_may_not_be_read(model: Path) -> None:
    request = request_for(model)
    os.chmod(model, 0)
    was = os.geteuid()
    async with rigged() as rig:
        if was == 0:
            os.seteuid(65534)
        try:
            with pytest.raises((Denied, NotFound)):
                await rig.fetch(MemorySink(len(DATA)), request)
        finally:
            os.seteuid(was)
