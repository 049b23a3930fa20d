from __future__ import annotations

import os
from pathlib import Path

import pytest
from blake3 import blake3

from cached.store.audit import read_and_check

from .disk import CHUNK, some_bytes

DATA = some_bytes(5 * CHUNK + 9)
HASHES = b"".join(blake3(DATA[at : at + CHUNK]).digest() for at in range(0, len(DATA), CHUNK))


def check(path: Path, data: bytes) -> list[int]:
    path.write_bytes(data)
    return read_and_check(path, len(DATA), CHUNK, HASHES)


def test_a_sound_blob_has_no_wrong_chunk(tmp_path: Path) -> None:
    assert check(tmp_path / "blob", DATA) == []


@pytest.mark.parametrize("at", [0, CHUNK - 1, CHUNK, 3 * CHUNK + 100, len(DATA) - 1])
def test_one_wrong_bit_is_found_in_its_chunk(tmp_path: Path, at: int) -> None:
    spoilt = bytearray(DATA)
    spoilt[at] ^= 1
    assert check(tmp_path / "blob", bytes(spoilt)) == [at // CHUNK]


def test_a_file_of_another_length_is_wrong(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    assert check(blob, DATA[:-1]) == [5]
    assert check(blob, DATA[: 3 * CHUNK + 1]) == [3, 4, 5]
    assert check(blob, DATA + b"!") == [5]
    assert check(blob, b"") == [0, 1, 2, 3, 4, 5]


def test_an_empty_blob_is_checked_too(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    assert read_and_check(blob, 0, CHUNK, b"") == [0]
    blob.touch()
    assert read_and_check(blob, 0, CHUNK, b"") == []
    blob.write_bytes(b"!")
    assert read_and_check(blob, 0, CHUNK, b"") == [0]


def test_a_file_that_is_not_there_or_not_a_file_is_wrong_everywhere(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    everywhere = [0, 1, 2, 3, 4, 5]
    assert read_and_check(blob, len(DATA), CHUNK, HASHES) == everywhere
    os.mkfifo(blob)
    assert read_and_check(blob, len(DATA), CHUNK, HASHES) == everywhere
    blob.unlink()
    (tmp_path / "sound").write_bytes(DATA)
    blob.symlink_to(tmp_path / "sound")
    assert read_and_check(blob, len(DATA), CHUNK, HASHES) == everywhere


def test_every_byte_is_announced_before_it_is_read(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(DATA)
    announced: list[int] = []
    read_and_check(blob, len(DATA), CHUNK, HASHES, throttle=announced.append)
    assert announced == [CHUNK] * 5 + [9]


def test_chunks_larger_than_one_read(tmp_path: Path) -> None:
    data = some_bytes((3 << 20) + 12345)
    chunk = 2 << 20
    hashes = b"".join(blake3(data[at : at + chunk]).digest() for at in range(0, len(data), chunk))
    blob = tmp_path / "blob"
    blob.write_bytes(data)
    assert read_and_check(blob, len(data), chunk, hashes) == []
    blob.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert read_and_check(blob, len(data), chunk, hashes) == [1]
