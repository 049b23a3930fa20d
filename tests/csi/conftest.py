"""A node for volumes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.csi.node import Node, open_node
from tests.publish.playground import Playground


@pytest.fixture
def playground() -> Iterator[Playground]:
    """A shared mount, at a short path: those of sockets must be short."""
    path = Path(tempfile.mkdtemp(prefix="cached-"))
    try:
        with Playground(path) as place:
            (place.path / "house").mkdir()
            yield place
    finally:
        shutil.rmtree(path)


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str]:
    """Catalog entries: `org/m` for everybody, `secret` for two namespaces, `moving` without a revision, all
    of the same files; `other` of others.
    """
    source = tmp_path / "source"
    (source / "d").mkdir(parents=True)
    (source / "f").write_text("model")
    (source / "d" / "config.json").write_text("{}")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "f").write_text("other")
    where = f'source: "file://{source}"'
    return {
        "org/m": f"{where}, revision: v1",
        "secret": f"{where}, revision: v1, namespaces: [team-a, team-b]",
        "moving": where,
        "other": f'source: "file://{tmp_path}/other", revision: v1',
    }


@pytest.fixture
async def node(playground: Playground, models: dict[str, str]) -> AsyncIterator[Node]:
    async with open_node(playground, models) as opened:
        yield opened
