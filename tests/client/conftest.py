"""A daemon's real sockets, over an engine that does as it is told."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.daemon import Daemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    run = Path(tempfile.mkdtemp(prefix="cached-"))  # short, as sockets' paths must be
    daemon = Daemon(run, tmp_path / "trees")
    daemon.start()
    yield daemon
    daemon.end()
    shutil.rmtree(run)
