"""Files replaced in one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cached.kit.durable import write_atomic


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_atomic(path, b"new", 0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_the_draft_of_a_killed_process_is_in_nobodys_way(tmp_path: Path) -> None:
    """A daemon in a container has the same process id at each start."""
    (tmp_path / f".file.{os.getpid()}").write_bytes(b"half of it")
    write_atomic(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomic(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
