from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cached.core.digest import Digest
from cached.store import journal
from cached.store.journal import Journal, Shape

SHAPE = Shape(Digest.sha256(b"a blob"), size=10 * 4096 + 17, chunk_size=4096)
HEADER = journal.encode_header(SHAPE)
RECORD_BYTES = len(journal.encode_record(0, bytes(32)))

indexes = st.integers(0, SHAPE.count - 1)
hashes = st.binary(min_size=32, max_size=32)
records = st.lists(st.tuples(indexes, hashes), max_size=30)


def written(pairs: list[tuple[int, bytes]]) -> bytes:
    return HEADER + b"".join(journal.encode_record(index, blake3) for index, blake3 in pairs)


@given(records)
def test_the_newest_record_of_a_chunk_counts(pairs: list[tuple[int, bytes]]) -> None:
    entries = journal.decode(written(pairs))
    assert entries is not None
    assert entries.shape == SHAPE
    assert entries.hashes == dict(pairs)
    assert entries.complete == (len(dict(pairs)) == SHAPE.count)


@given(records, st.data())
def test_a_crash_at_any_byte_loses_no_whole_record(
    pairs: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    whole = written(pairs)
    cut = data.draw(st.integers(0, len(whole)))
    entries = journal.decode(whole[:cut])
    if cut < len(HEADER):
        assert entries is None
    else:
        kept = (cut - len(HEADER)) // RECORD_BYTES
        assert entries is not None
        assert entries.hashes == dict(pairs[:kept])
        assert entries.end == len(HEADER) + kept * RECORD_BYTES


@given(records.filter(bool), st.data())
def test_a_spoilt_record_is_lost_and_no_other(pairs: list[tuple[int, bytes]], data: st.DataObject) -> None:
    spoilt = bytearray(written(pairs))
    victim = data.draw(st.integers(0, len(pairs) - 1))
    at = len(HEADER) + victim * RECORD_BYTES + data.draw(st.integers(0, RECORD_BYTES - 1))
    spoilt[at] ^= data.draw(st.integers(1, 255))
    entries = journal.decode(bytes(spoilt))
    assert entries is not None
    assert entries.hashes == dict(pairs[:victim] + pairs[victim + 1 :])


@given(records, st.binary(max_size=200))
def test_garbage_behind_the_records_is_ignored(pairs: list[tuple[int, bytes]], garbage: bytes) -> None:
    entries = journal.decode(written(pairs) + garbage)
    assert entries is not None
    assert entries.hashes == dict(pairs)


@given(st.integers(0, len(HEADER) - 1), st.integers(1, 255))
def test_a_spoilt_header_tells_nothing(at: int, flip: int) -> None:
    spoilt = bytearray(written([(0, bytes(32))]))
    spoilt[at] ^= flip
    assert journal.decode(bytes(spoilt)) is None


@given(st.binary(max_size=400))
def test_no_bytes_at_all_make_it_fail(data: bytes) -> None:
    assert journal.decode(data) is None
    entries = journal.decode(HEADER + data)
    assert entries is not None
    assert not entries.hashes


def test_a_record_beyond_the_blob_is_ignored() -> None:
    entries = journal.decode(written([(SHAPE.count, bytes(32)), (2**32 - 1, bytes(32))]))
    assert entries is not None
    assert not entries.hashes


def test_a_header_with_a_right_check_value_and_wrong_text_does_not_fail() -> None:
    fields = struct.pack("<8s72sQI", b"cachedJ1", b"\xff" * 72, 1, 4096)
    entries = journal.decode(fields + struct.pack("<I", zlib.crc32(fields)))
    assert entries is not None
    assert entries.shape != SHAPE


def test_zeros_from_a_lost_write_are_no_record() -> None:
    entries = journal.decode(HEADER + bytes(RECORD_BYTES * 3) + journal.encode_record(4, b"h" * 32))
    assert entries is not None
    assert entries.hashes == {4: b"h" * 32}


def test_appending_goes_on_after_a_torn_tail(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal.create(path, SHAPE)
    first.append(3, b"a" * 32)
    first.close()
    with path.open("ab") as file:
        file.write(b"torn")
    entries = journal.read(path)
    assert entries is not None
    again = Journal.resume(path, entries)
    again.append(5, b"b" * 32)
    again.close()
    entries = journal.read(path)
    assert entries is not None
    assert entries.hashes == {3: b"a" * 32, 5: b"b" * 32}


def test_room_for_the_records_is_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal.create(path, Shape(SHAPE.blob, 1 << 30, 1 << 20)).close()
    assert path.stat().st_size == len(HEADER)
    assert path.stat().st_blocks * 512 >= len(HEADER) + 1024 * RECORD_BYTES


def test_a_journal_is_never_written_through_a_symlink(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(written([]))
    link = tmp_path / "journal"
    link.symlink_to(outside)
    assert journal.read(link) is None
    entries = journal.decode(outside.read_bytes())
    assert entries is not None
    with pytest.raises(OSError, match="symbolic links"):
        Journal.resume(link, entries)


def test_a_fifo_in_its_place_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "journal")
    assert journal.read(tmp_path / "journal") is None


def test_a_directory_in_its_place_tells_nothing(tmp_path: Path) -> None:
    assert journal.read(tmp_path) is None
    assert journal.read(tmp_path / "absent") is None
