"""Whether what is to be warm from the start is warm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from cached.engine.views import ReadinessView, State
from tests.engine.house import House, open_house


def model(directory: Path, name: str, more: str = "warm_at_start: true") -> str:
    files = directory / name
    files.mkdir(parents=True, exist_ok=True)
    (files / "weights").write_bytes(name.encode() * 1000)
    return f"source: 'file://{files}', {more}"


def catalog(directory: Path, models: Mapping[str, str]) -> None:
    """Put another one in the place of that with which the house was opened."""
    lines = "".join(f"  {name}: {{{entry}}}\n" for name, entry in models.items())
    (directory / "catalog.yaml").write_text(f"models:\n{lines}")


async def until(house: House, true: Callable[[ReadinessView], bool]) -> ReadinessView:
    async with asyncio.timeout(20):
        while not true(view := house.engine.readiness()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return view


def missing(view: ReadinessView) -> dict[str, State]:
    return {each.ref: each.state for each in view.missing}


async def test_a_catalog_that_wants_nothing_warm(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"m": model(tmp_path, "m", "pin: true")}) as house:
        view = await until(house, lambda view: view.wanted is not None)
        assert (view.ready, view.wanted, view.missing) == (True, 0, ())


async def test_all_that_is_wanted_and_nothing_else(tmp_path: Path) -> None:
    models = {
        "a": model(tmp_path, "a"),
        "b": model(tmp_path, "b", "warm_at_start: true, revision: v1"),
        "c": model(tmp_path, "c", "pin: true"),
    }
    async with open_house(tmp_path, {"c": models["c"]}) as house:
        house.source.gate.clear()
        catalog(tmp_path, models)
        view = await until(house, lambda view: view.wanted == 2)
        assert not view.ready
        assert missing(view).keys() == {"a", "b@v1"}
        house.source.gate.set()
        assert (await until(house, lambda view: view.ready)).wanted == 2


async def test_a_model_that_cannot_be_fetched_is_missing_with_the_reason(tmp_path: Path) -> None:
    models = {"a": model(tmp_path, "a"), "broken": f"source: 'file://{tmp_path}/none', warm_at_start: true"}
    async with open_house(tmp_path, models) as house:
        view = await until(house, lambda view: missing(view) == {"broken": State.FAILED})
        assert (view.ready, view.wanted) == (False, 2)
        assert "none" in view.missing[0].last_error
        del models["broken"]
        catalog(tmp_path, models)
        assert (await until(house, lambda view: view.ready)).wanted == 1


async def test_what_was_evicted_is_missing(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"a": model(tmp_path, "a")}) as house:
        await until(house, lambda view: view.ready)
        await house.engine.evict("a")
        assert missing(house.engine.readiness()) == {"a": State.COLD}


async def test_a_refused_catalog_is_not_one_that_wants_nothing(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"no/": "source: 'file:///a'"}) as house:
        await asyncio.sleep(0.3)
        view = house.engine.readiness()
        assert (view.ready, view.wanted, view.serving) == (False, None, True)
        catalog(tmp_path, {"a": model(tmp_path, "a")})
        assert (await until(house, lambda view: view.wanted is not None)).wanted == 1
        await until(house, lambda view: view.ready)


async def test_one_known_from_an_earlier_run_counts(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"a": model(tmp_path, "a")}) as house:
        await until(house, lambda view: view.ready)
    async with open_house(tmp_path, {"no/": "source: 'file:///a'"}) as house:
        assert (await until(house, lambda view: view.ready)).wanted == 1


async def test_what_changed_at_its_source_is_not_ready_as_it_was(tmp_path: Path) -> None:
    models = {"a": model(tmp_path, "a")}
    async with open_house(tmp_path, models) as house:
        await until(house, lambda view: view.ready)
        house.source.gate.clear()
        (tmp_path / "a" / "weights").write_bytes(b"newer")
        catalog(tmp_path, {"a": models["a"] + ", pin: true"})
        await until(house, lambda view: missing(view) == {"a": State.FETCHING})
        house.source.gate.set()
        await until(house, lambda view: view.ready)


async def test_a_source_that_is_down_takes_nothing_away_that_is_here(tmp_path: Path) -> None:
    models = {"a": model(tmp_path, "a")}
    async with open_house(tmp_path, models) as house:
        await until(house, lambda view: view.ready)
        house.source.down = True
        catalog(tmp_path, {"a": models["a"] + ", pin: true"})
        await until(house, lambda view: house.source.lists > 1 and view.ready)


async def test_a_daemon_that_stops_is_not_ready(tmp_path: Path) -> None:
    async with open_house(tmp_path, {"a": model(tmp_path, "a")}) as house:
        await until(house, lambda view: view.ready)
        await house.engine.drain(0)
        view = house.engine.readiness()
        assert (view.serving, view.ready) == (False, False)


async def test_warm_models_of_the_catalog_those_first_that_are_to_be(tmp_path: Path) -> None:
    models = {
        "org/a": model(tmp_path, "org/a", "pin: true"),
        "b": model(tmp_path, "b", "warm_at_start: true, revision: v1"),
        "c": model(tmp_path, "c", "pin: true"),
    }
    async with open_house(tmp_path, models, allowed=(f"file://{tmp_path}",)) as house:
        await until(house, lambda view: view.ready)
        assert house.engine.warm_models() == ["b"]
        await house.ready("org/a")
        await house.ready(f"file://{tmp_path}/c")
        assert house.engine.warm_models() == ["b", "org/a"]
