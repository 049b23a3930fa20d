"""The sources of the catalog, asked whether they can be read."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cached.core.errors import NotFound, SourceUnavailable
from cached.engine import probes
from tests.engine.house import open_house
from tests.engine.test_engine import model


async def test_each_source_is_asked_once_whoever_comes_from_there(tmp_path: Path) -> None:
    tiny = model(tmp_path, "tiny", weights=10)
    models = {
        "all": tiny,
        "some": f"{tiny}, revision: v1, include: ['*.json']",
        "gone": f"source: 'file://{tmp_path}/nowhere'",
        "empty": f"source: 'file://{tmp_path}/empty'",
        "any": f"source: 'file://{tmp_path}/models/{{revision}}', revision: tiny",
    }
    (tmp_path / "empty").mkdir()
    async with open_house(tmp_path, models) as house:
        found = {view.uri: view for view in await house.engine.check_sources()}
        assert list(found) == sorted(found)
        assert house.source.probes == len(found) == 3
        assert set(found[f"file://{tmp_path}/models/tiny"].refs) == {"all", "some@v1", "any@tiny"}
        assert found[f"file://{tmp_path}/models/tiny"].error is None
        for name in ("nowhere", "empty"):
            assert isinstance(found[f"file://{tmp_path}/{name}"].error, NotFound)
        assert house.source.lists == 0


async def test_a_source_that_is_silent_is_unavailable_and_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "_PATIENCE", 0.1)
    async with open_house(tmp_path, {"m": model(tmp_path, "m", weights=1)}) as house:
        house.source.gate.clear()
        (view,) = await house.engine.check_sources()
        assert isinstance(view.error, SourceUnavailable)
        assert "has not answered within 0.1 s" in view.error.message


async def test_who_leaves_ends_the_questions(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"m": model(tmp_path, "m", weights=1)}) as house:
        house.source.gate.clear()
        asking = asyncio.create_task(house.engine.check_sources())
        while not house.source.probes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
