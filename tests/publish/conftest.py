"""Places to publish at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publish.playground import Playground


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    """A shared mount of the test's own; skipped where none can be made."""
    with Playground(tmp_path / "playground") as place:
        yield place
