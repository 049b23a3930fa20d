from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from blake3 import blake3

from cached.core.digest import Digest
from cached.core.errors import Corrupt, DiskFault
from cached.core.sink import ChunkSink
from cached.core.source import CrcKind
from cached.store import blobs, journal
from cached.store.layout import Layout
from cached.store.stage import Stage, discard

from .disk import CHUNK, Pool, new_layout, put, some_bytes

DATA = some_bytes(9 * CHUNK + 123)
BLOB = Digest.sha256(DATA)
UNCHECKED = Digest.of_origin("s3://bucket/key", "etag", len(DATA))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_layout(tmp_path / "root")


def open_stage(layout: Layout, blob: Digest = BLOB, size: int = len(DATA)) -> Stage:
    return Stage.open(layout, blob, size, chunk_size=CHUNK)


def test_it_is_a_sink(layout: Layout) -> None:
    stage: ChunkSink = open_stage(layout)
    assert (stage.size, stage.chunk_size) == (len(DATA), CHUNK)
    assert list(stage.missing()) == list(range(10))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_was_put_is_what_is_there(layout: Layout, size: int) -> None:
    data = DATA[:size]
    stage = open_stage(layout, Digest.sha256(data), size)
    put(stage, data)
    assert not stage.missing()
    assert stage.verified_bytes == size
    data_file = layout.stage_data(stage.blob)
    assert not any(data_file.read_bytes()[size:]), "what an earlier chunk left in the buffer"
    stage.seal()
    assert data_file.read_bytes() == data
    assert data_file.stat().st_mode & 0o777 == 0o444
    assert stage.chunk_hashes() == b"".join(
        blake3(data[at : at + CHUNK]).digest() for at in range(0, size, CHUNK)
    )
    stage.close()


def test_room_for_the_whole_is_taken_before_the_first_chunk(layout: Layout) -> None:
    stage = open_stage(layout, size=1 << 20)
    assert layout.stage_data(BLOB).stat().st_blocks * 512 >= 1 << 20
    stage.close()


def test_a_resumed_stage_misses_only_what_never_came(layout: Layout) -> None:
    first = open_stage(layout)
    put(first, DATA, [7, 0, 9, 3])
    first.close()

    second = open_stage(layout)
    assert list(second.missing()) == [1, 2, 4, 5, 6, 8]
    assert second.verified_bytes == 3 * CHUNK + 123
    put(second, DATA)
    second.seal()
    assert layout.stage_data(BLOB).read_bytes() == DATA
    second.close()


def test_a_sealed_stage_that_was_not_committed_is_found_again(layout: Layout) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.seal()
    first.close()
    second = open_stage(layout)
    assert not second.missing()
    second.seal()
    second.close()


def test_a_chunk_that_the_disk_lost_comes_again(layout: Layout) -> None:
    first = open_stage(layout, UNCHECKED)
    put(first, DATA, range(6))
    first.close()
    with layout.stage_data(UNCHECKED).open("r+b") as file:
        file.seek(2 * CHUNK + 5)
        file.write(b"!")
    second = open_stage(layout, UNCHECKED)
    assert list(second.missing()) == [2, 6, 7, 8, 9]
    put(second, DATA)
    second.close()
    third = open_stage(layout, UNCHECKED)
    assert not third.missing()
    third.seal()
    assert layout.stage_data(UNCHECKED).read_bytes() == DATA
    third.close()


def test_a_data_file_shorter_than_the_journal_says(layout: Layout) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.close()
    os.truncate(layout.stage_data(BLOB), 4 * CHUNK + 10)
    second = open_stage(layout)
    assert list(second.missing()) == [4, 5, 6, 7, 8, 9]
    assert layout.stage_data(BLOB).stat().st_blocks * 512 >= len(DATA)
    put(second, DATA)
    second.seal()
    assert layout.stage_data(BLOB).read_bytes() == DATA
    second.close()


@pytest.mark.parametrize(("size", "chunk_size"), [(len(DATA) + 1, CHUNK), (len(DATA), 2 * CHUNK)])
def test_a_stage_of_another_shape_is_begun_anew(layout: Layout, size: int, chunk_size: int) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.close()
    second = Stage.open(layout, BLOB, size, chunk_size=chunk_size)
    assert second.verified_bytes == 0
    second.close()


def test_a_journal_of_another_blob_does_not_count(layout: Layout) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.close()
    os.rename(layout.stage(BLOB), layout.stage(UNCHECKED))
    second = open_stage(layout, UNCHECKED)
    assert second.verified_bytes == 0
    second.close()


@pytest.mark.parametrize("name", ["data", "journal"])
def test_nothing_is_read_or_written_through_a_symlink(layout: Layout, tmp_path: Path, name: str) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.close()
    outside = tmp_path / "outside"
    (layout.stage(BLOB) / name).rename(outside)
    before = outside.read_bytes(), outside.stat().st_mode
    (layout.stage(BLOB) / name).symlink_to(outside)

    second = open_stage(layout)
    assert second.verified_bytes == 0
    put(second, DATA)
    second.seal()
    second.discard()
    assert (outside.read_bytes(), outside.stat().st_mode) == before


@pytest.mark.parametrize("name", ["data", "journal"])
def test_a_fifo_in_the_place_of_a_file_gives_way(layout: Layout, name: str) -> None:
    first = open_stage(layout)
    put(first, DATA)
    first.close()
    place = layout.stage(BLOB) / name
    place.unlink()
    os.mkfifo(place)
    second = open_stage(layout)
    assert second.verified_bytes == 0
    second.close()


def test_a_foreign_file_where_the_stage_belongs_gives_way(layout: Layout, tmp_path: Path) -> None:
    place = layout.stage(BLOB)
    for stranger in ("a file", "a symlink"):
        if stranger == "a file":
            place.touch()
        else:
            place.symlink_to(tmp_path)
        stage = open_stage(layout)
        put(stage, DATA)
        stage.seal()
        stage.discard()
    assert tmp_path.is_dir()


def test_a_whole_that_is_not_what_its_name_says_is_corrupt(layout: Layout) -> None:
    stage = open_stage(layout)
    put(stage, DATA[:-1] + b"?")
    with pytest.raises(Corrupt, match=BLOB):
        stage.seal()
    with pytest.raises(ValueError, match="not sealed"):
        blobs.commit(layout, stage)
    stage.discard()
    assert not layout.stage(BLOB).exists()


def test_a_whole_that_the_disk_changed_is_not_the_fault_of_the_source(layout: Layout) -> None:
    first = open_stage(layout)
    put(first, DATA, range(5))
    first.close()
    second = open_stage(layout)
    with layout.stage_data(BLOB).open("r+b") as file:
        file.write(b"!")
    put(second, DATA)
    with pytest.raises(DiskFault, match="does not give back"):
        second.seal()
    second.close()
    third = open_stage(layout)
    assert list(third.missing()) == [0]
    third.close()


@pytest.mark.parametrize("resumed", [False, True])
def test_a_crc_is_checked_where_the_name_cannot_be(layout: Layout, resumed: bool) -> None:
    from awscrt import checksums

    right = checksums.crc64nvme(DATA)
    for crc, good in ((right, True), (right ^ 1, False)):
        promised = (CrcKind.CRC64NVME, crc)
        stage = Stage.open(layout, UNCHECKED, len(DATA), chunk_size=CHUNK, crc=promised)
        put(stage, DATA, [9, 4, 1])
        if resumed:
            stage.close()
            stage = Stage.open(layout, UNCHECKED, len(DATA), chunk_size=CHUNK, crc=promised)
        put(stage, DATA)
        if good:
            stage.seal()
        else:
            with pytest.raises(Corrupt, match=f"crc64nvme:{right:016x}"):
                stage.seal()
        stage.discard()


def test_a_chunk_that_is_here_is_left_as_it_is(layout: Layout) -> None:
    stage = open_stage(layout)
    put(stage, DATA, [0])
    stage.put(0, Pool().buffer(bytes(CHUNK)), bytes(32))
    put(stage, DATA)
    stage.seal()
    stage.put(0, Pool().buffer(bytes(CHUNK)), bytes(32))
    stage.close()
    stage.put(0, Pool().buffer(bytes(CHUNK)), bytes(32))
    assert layout.stage_data(BLOB).read_bytes() == DATA


@pytest.mark.parametrize(
    ("index", "length"), [(0, CHUNK - 1), (9, CHUNK), (10, CHUNK), (-1, CHUNK), (9, 122)]
)
def test_what_is_no_chunk_of_the_blob_is_refused(layout: Layout, index: int, length: int) -> None:
    stage = open_stage(layout)
    with pytest.raises(ValueError, match="not chunk"):
        stage.put(index, Pool().buffer(bytes(length)), bytes(32))
    assert stage.verified_bytes == 0
    stage.close()


def test_a_closed_stage_takes_nothing_and_lets_go_of_all(layout: Layout) -> None:
    pool = Pool(spare=3)
    stage = open_stage(layout)
    put(stage, DATA, [3, 4, 5, 6], pool)
    assert pool.held == 3
    stage.close()
    stage.close()
    assert pool.held == 0
    with pytest.raises(ValueError, match="closed"):
        put(stage, DATA, [0])


def test_an_incomplete_stage_cannot_be_sealed(layout: Layout) -> None:
    stage = open_stage(layout)
    put(stage, DATA, range(9))
    with pytest.raises(ValueError, match="not complete"):
        stage.seal()
    stage.close()


def test_closing_waits_for_a_chunk_on_its_way_to_the_disk(layout: Layout) -> None:
    stage = open_stage(layout)
    chunk = DATA[:CHUNK]
    writing, go_on = threading.Event(), threading.Event()

    class SlowBuffer:
        """A buffer whose memory the writer gets only when told."""

        buffer = Pool().buffer(chunk)
        view = buffer.view

        @property
        def block(self) -> memoryview:
            writing.set()
            go_on.wait(10)
            return self.buffer.block

        def try_retain(self) -> bool:
            return False

        def release(self) -> None: ...

    writer = threading.Thread(target=stage.put, args=(0, SlowBuffer(), blake3(chunk).digest()))
    closer = threading.Thread(target=stage.close)
    twin = threading.Thread(target=put, args=(stage, DATA, [0]))
    writer.start()
    assert writing.wait(10)
    twin.start()
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    assert twin.is_alive()
    go_on.set()
    for thread in (writer, twin, closer):
        thread.join(10)
    again = open_stage(layout)
    assert list(again.missing()) == list(range(1, 10))
    again.close()


def test_many_threads_fill_one_stage(layout: Layout) -> None:
    data = some_bytes(200 * CHUNK + 1)
    pool = Pool(spare=10)
    stage = open_stage(layout, Digest.sha256(data), len(data))
    order = [*range(200, -1, -3), *range(199, -1, -3), *range(198, -1, -3)]
    threads = [threading.Thread(target=put, args=(stage, data, order[n::5], pool)) for n in range(6)]
    threads.append(threading.Thread(target=put, args=(stage, data, order, pool)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stage.seal()
    assert layout.stage_data(stage.blob).read_bytes() == data
    stage.close()
    assert pool.held == 0


def test_discard_leaves_nothing(layout: Layout) -> None:
    stage = open_stage(layout)
    put(stage, DATA, [1])
    stage.discard()
    assert list(layout.stages.iterdir()) == [layout.drafts]
    discard(layout, BLOB)


FILLER = """
import itertools, os, sys
from pathlib import Path
from blake3 import blake3
from cached.core.digest import Digest
from cached.store.layout import Layout
from cached.store.stage import Stage
from tests.store.disk import Pool

layout, size, chunk = Layout(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
stage = Stage.open(layout, Digest(sys.argv[4]), size, chunk_size=chunk)
for index in stage.missing():
    data = index.to_bytes(4, "big") * (chunk // 4)
    stage.put(index, Pool().buffer(data), blake3(data).digest())
    os.write(1, index.to_bytes(4, "big"))
"""


def test_no_chunk_whose_put_returned_is_lost_to_a_kill(layout: Layout) -> None:
    count = 6000
    data = b"".join(index.to_bytes(4, "big") * (CHUNK // 4) for index in range(count))
    blob = Digest.sha256(data)
    done: set[int] = set()
    for said_before_the_kill in (1, 40, 333, 1000):
        process = subprocess.Popen(
            [sys.executable, "-c", FILLER, layout.root, str(len(data)), str(CHUNK), blob],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        said = process.stdout.read(4 * said_before_the_kill)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
        process.wait()
        process.stdout.close()
        fresh = {int.from_bytes(said[at : at + 4], "big") for at in range(0, len(said) // 4 * 4, 4)}
        assert not fresh & done, "fetched a verified chunk again"
        done |= fresh
        entries = journal.read(layout.stage_journal(blob))
        assert entries is not None
        assert done <= set(entries.hashes)
    stage = Stage.open(layout, blob, len(data), chunk_size=CHUNK)
    assert not done & set(stage.missing())
    put(stage, data)
    stage.seal()
    stage.discard()
