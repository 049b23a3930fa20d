from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from cached.core.digest import Digest
from cached.store import audit, blobs
from cached.store.blobs import Complete, Partial
from cached.store.layout import Layout
from cached.store.stage import Stage

from .disk import CHUNK, committed, new_layout, put, some_bytes, unprivileged

DATA = some_bytes(3 * CHUNK + 7)
BLOB = Digest.sha256(DATA)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return new_layout(tmp_path / "new" / "root")


def test_preparing_again_changes_nothing(layout: Layout) -> None:
    committed(layout, DATA)
    blobs.prepare(layout)
    assert list(blobs.scan(layout)) == [(BLOB, len(DATA))]


def test_pods_may_read_blobs_and_trees_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        layout = new_layout(tmp_path / "root")
        committed(layout, DATA)
    finally:
        os.umask(before)
    assert layout.trees.stat().st_mode & 0o777 == 0o755
    assert layout.blob(BLOB).stat().st_mode & 0o777 == 0o444
    assert layout.stages.stat().st_mode & 0o777 == 0o700


def test_a_committed_blob_is_all_there_is(layout: Layout) -> None:
    committed(layout, DATA)
    assert layout.blob(BLOB).read_bytes() == DATA
    assert blobs.stages(layout) == []
    assert blobs.adoptable(layout, BLOB) is None


def test_a_crash_before_the_index_row_can_be_made_good(layout: Layout) -> None:
    stage = Stage.open(layout, BLOB, len(DATA), chunk_size=CHUNK)
    put(stage, DATA)
    stage.seal()
    assert blobs.adoptable(layout, BLOB) is None
    blobs.commit(layout, stage)
    stage.close()
    assert blobs.adoptable(layout, BLOB) == Complete(len(DATA), CHUNK, stage.chunk_hashes())
    assert blobs.stages(layout) == [Partial(BLOB, len(DATA), 0, len(DATA))]
    assert not audit.read_and_check(layout.blob(BLOB), len(DATA), CHUNK, stage.chunk_hashes())


@pytest.mark.parametrize("harm", ["shorter", "journal torn", "journal gone", "a symlink"])
def test_what_nothing_vouches_for_is_not_adopted(layout: Layout, tmp_path: Path, harm: str) -> None:
    stage = Stage.open(layout, BLOB, len(DATA), chunk_size=CHUNK)
    put(stage, DATA)
    stage.seal()
    blobs.commit(layout, stage)
    stage.close()
    blob, journal = layout.blob(BLOB), layout.stage_journal(BLOB)
    if harm == "shorter":
        os.truncate(blob, 10)
    elif harm == "journal torn":
        os.truncate(journal, journal.stat().st_size - 1)
    elif harm == "journal gone":
        journal.unlink()
    else:
        blob.rename(tmp_path / "elsewhere")
        blob.symlink_to(tmp_path / "elsewhere")
    assert blobs.adoptable(layout, BLOB) is None


def test_stages_are_listed_with_what_they_take_and_hold(layout: Layout) -> None:
    stage = Stage.open(layout, BLOB, len(DATA), chunk_size=CHUNK)
    put(stage, DATA, [3, 1])
    stage.close()
    assert blobs.stages(layout) == [Partial(BLOB, len(DATA), 4 * CHUNK, CHUNK + 7)]
    layout.stage_journal(BLOB).write_bytes(b"garbage")
    assert blobs.stages(layout) == [Partial(BLOB, 0, 4 * CHUNK, 0)]


def test_foreign_files_are_reported_and_left_alone(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    committed(layout, DATA)
    strangers = [
        layout.blobs / "note",
        layout.blobs / "sha256" / "note",
        layout.blob(BLOB).with_name("note"),
        layout.blob(BLOB).with_name(BLOB.hex[:-1] + "\n"),
        layout.stages / "note",
    ]
    for stranger in strangers:
        stranger.write_text("?")
    link = layout.blob(BLOB).with_name(BLOB.hex[:2] + "0" * 62)
    link.symlink_to(layout.blob(BLOB))
    with caplog.at_level(logging.WARNING):
        assert list(blobs.scan(layout)) == [(BLOB, len(DATA))]
        assert blobs.stages(layout) == []
    assert [record.__dict__.get("files") for record in caplog.records] == [5, None]
    assert all(stranger.exists() for stranger in strangers)


def test_removing_is_final_and_may_be_repeated(layout: Layout) -> None:
    committed(layout, DATA)
    blobs.remove(layout, BLOB)
    blobs.remove(layout, BLOB)
    assert list(blobs.scan(layout)) == []


def test_quarantine_keeps_every_corrupt_copy(layout: Layout) -> None:
    kept = []
    for _ in range(2):
        committed(layout, DATA)
        kept.append(blobs.quarantine(layout, BLOB))
    assert blobs.quarantine(layout, BLOB) is None
    assert list(blobs.scan(layout)) == []
    assert sorted(layout.quarantined.iterdir()) == sorted(path for path in kept if path)
    assert len(kept) == 2


def test_all_of_it_works_for_a_user_who_is_not_root() -> None:
    with unprivileged() as place:
        layout = new_layout(place / "root")
        stage = Stage.open(layout, BLOB, len(DATA), chunk_size=CHUNK)
        put(stage, DATA)
        stage.seal()
        stage.close()
        # A crash came between: the data file is read-only by now.
        stage = Stage.open(layout, BLOB, len(DATA), chunk_size=CHUNK)
        assert not stage.missing()
        stage.seal()
        blobs.commit(layout, stage)
        stage.discard()
        assert blobs.quarantine(layout, BLOB)


@pytest.mark.slow
def test_a_hundred_thousand_blobs_are_listed_within_a_second(layout: Layout) -> None:
    import time

    for number in range(100_000):
        layout.blob(Digest.sha256(str(number).encode())).touch()
    begun = time.perf_counter()
    assert sum(1 for _ in blobs.scan(layout)) == 100_000
    assert time.perf_counter() - begun < 1
