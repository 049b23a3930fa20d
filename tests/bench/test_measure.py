"""What is measured is what the program took."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.disk import MIB, WriteShape, write_limit
from bench.process import Failed, environment, measure


def test_cpu_time_and_memory_are_those_of_the_program() -> None:
    code = "import time; block = bytearray(200 << 20); time.sleep(0.2); print(len(block))"
    usage = measure([sys.executable, "-c", code], environment({}))
    assert usage.stdout == f"{200 << 20}\n"
    assert usage.seconds > usage.cpu > 0
    assert usage.seconds > 0.2
    assert 200 << 20 < usage.peak_rss < 300 << 20


def test_memory_of_the_measuring_process_does_not_count() -> None:
    block = bytearray(300 << 20)
    usage = measure([sys.executable, "-c", "import time; time.sleep(0.2)"], environment({}))
    assert len(block) > usage.peak_rss


def test_a_program_that_fails_says_why() -> None:
    with pytest.raises(Failed, match="no such model"):
        measure([sys.executable, "-c", "raise SystemExit('no such model')"], environment({}))


def test_the_disk_limit_leaves_no_file(tmp_path: Path) -> None:
    assert write_limit(tmp_path, 3 * MIB, WriteShape(block=MIB, threads=2)) > 0
    assert not list(tmp_path.iterdir())
