"""The use cases, on a real store: hits, flights, holds, warm jobs, losses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from cached.core.errors import (
    Busy,
    CachedError,
    Draining,
    InUse,
    InvalidRequest,
    NoSpace,
    NotConfigured,
    NotFound,
    SourceUnavailable,
    TooLarge,
)
from cached.core.progress import Progress
from cached.engine.engine import EngineOptions
from cached.engine.views import Accepted, Ready, Resolved, Warmed
from tests.engine.house import House, open_house

MIB = 1 << 20


def model(directory: Path, name: str, **files: int) -> str:
    """Write random files of so many bytes each; returns the catalog's source."""
    place = directory / "models" / name
    for file, size in files.items():
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(os.urandom(size))
    return f"source: 'file://{place}'"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    """A model with a revision, one without, and one that is not there."""
    models = {
        "fixed": model(tmp_path, "fixed", weights=3 * MIB + 5, config=100) + ", revision: v1",
        "moving": model(tmp_path, "moving", weights=MIB),
        "gone": f"source: 'file://{tmp_path}/nowhere'",
    }
    async with open_house(tmp_path, models) as opened:
        yield opened


async def test_a_cold_model_then_a_warm_one(house: House, tmp_path: Path) -> None:
    events = await house.events("fixed")
    assert isinstance(events[0], Resolved)
    ready = events[-1]
    assert isinstance(ready, Ready)
    for name in ("weights", "config"):
        assert (ready.path / name).read_bytes() == (tmp_path / "models/fixed" / name).read_bytes()
    again = await house.events("fixed")
    assert [type(event) for event in again] == [Ready], "a warm hit is one message"
    assert house.sample("cached_acquires_total", outcome="hit") == 1
    assert house.sample("cached_acquires_total", outcome="miss") == 1


async def test_a_revision_asks_the_source_once(house: House) -> None:
    await house.ready("fixed")
    house.source.down = True
    assert not (await house.ready("fixed")).stale
    assert house.source.lists == 1


async def test_without_a_revision_each_acquire_asks(house: House, tmp_path: Path) -> None:
    first = await house.ready("moving")
    (tmp_path / "models/moving/weights").write_bytes(b"new")
    second = await house.ready("moving")
    assert first.tree != second.tree
    assert (second.path / "weights").read_bytes() == b"new"


async def test_a_source_that_is_down_serves_what_is_known_and_says_so(house: House) -> None:
    first = await house.ready("moving")
    house.source.down = True
    second = await house.ready("moving")
    assert (second.tree, second.stale) == (first.tree, True)
    with pytest.raises(SourceUnavailable):
        await house.ready("fixed")


async def test_a_tree_by_its_digest_needs_no_source_and_opens_no_other_model(house: House) -> None:
    moving, fixed = await house.ready("moving"), await house.ready("fixed")
    house.source.down = True
    assert (await house.ready(f"moving@{moving.tree}")).tree == moving.tree
    with pytest.raises(SourceUnavailable):
        await house.ready(f"moving@{fixed.tree}")


async def test_resolve_ttl_spares_the_source(tmp_path: Path) -> None:
    models = {"moving": model(tmp_path, "moving", weights=MIB)}
    async with open_house(tmp_path, models, options=EngineOptions(resolve_ttl=60)) as house:
        await house.ready("moving")
        await house.ready("moving")
        assert house.source.lists == 1


async def test_a_thousand_callers_cause_one_fetch(house: House) -> None:
    house.source.gate.clear()
    callers = [asyncio.create_task(house.ready("fixed")) for _ in range(1000)]
    await asyncio.sleep(0.3)
    house.source.gate.set()
    ready = await asyncio.gather(*callers)
    assert len({answer.path for answer in ready}) == 1
    assert len({answer.lease.id for answer in ready}) == 1000
    assert house.source.opens == 2, "one for each file"
    assert house.sample("cached_received_bytes_total", origin="file") == 3 * MIB + 105
    assert house.sample("cached_flights_ended_total", outcome="ok") == 1


async def test_who_comes_during_a_fetch_does_not_ask_the_source_again(house: House) -> None:
    house.source.gate.clear()
    callers = [asyncio.create_task(house.ready("moving"))]
    for _ in range(5):
        await asyncio.sleep(0.05)
        callers.append(asyncio.create_task(house.ready("moving")))
    await asyncio.sleep(0.1)
    house.source.gate.set()
    assert len({answer.tree for answer in await asyncio.gather(*callers)}) == 1
    assert house.source.lists == 1


async def test_a_caller_that_leaves_harms_nobody(house: House) -> None:
    house.source.gate.clear()
    leaver, stayer = (asyncio.create_task(house.ready("fixed")) for _ in range(2))
    await asyncio.sleep(0.1)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    house.source.gate.set()
    assert (await stayer).path.is_dir()


async def test_the_last_caller_that_leaves_ends_the_fetch(house: House) -> None:
    house.source.gate.clear()
    async with aclosing(house.engine.acquire("fixed", ttl=None, holder="")) as events:
        async for event in events:
            if isinstance(event, Progress):
                break
    assert house.sample("cached_flights") == 0
    assert house.sample("cached_flights_ended_total", outcome="cancelled") == 1
    assert house.store.space().reserved == 0
    house.source.gate.set()
    assert (await house.ready("fixed")).path.is_dir()


async def test_two_models_share_a_blob_in_flight(tmp_path: Path) -> None:
    """One file in two models: fetched once, though both are fetched at once."""
    source = model(tmp_path, "big", weights=2 * MIB, config=10)
    models = {"all": source + ", revision: v1", "part": source + ", revision: v1, include: [weights]"}
    async with open_house(tmp_path, models) as house:
        house.source.gate.clear()
        callers = [asyncio.create_task(house.ready(name)) for name in models]
        await asyncio.sleep(0.2)
        house.source.gate.set()
        one, other = await asyncio.gather(*callers)
        assert one.tree != other.tree
        assert house.source.opens == 2
        assert (one.path / "weights").stat().st_ino == (other.path / "weights").stat().st_ino


async def test_a_source_that_changes_in_mid_flight_is_read_anew(house: House, tmp_path: Path) -> None:
    weights = tmp_path / "models/fixed/weights"
    house.source.gate.clear()
    caller = asyncio.create_task(house.ready("fixed"))
    await asyncio.sleep(0.2)
    new = os.urandom(2 * MIB)
    weights.write_bytes(new)
    house.source.gate.set()
    assert ((await caller).path / "weights").read_bytes() == new
    assert house.source.lists == 2


@pytest.mark.parametrize(
    ("ref", "error"),
    [("gone", NotFound), ("unknown", NotFound), ("..", InvalidRequest), ("fixed@v2", NotFound)],
)
async def test_what_cannot_be_had(house: House, ref: str, error: type[CachedError]) -> None:
    with pytest.raises(error):
        await house.ready(ref)
    assert house.sample("cached_acquires_total", outcome=error.__name__) == 1


async def test_a_scheme_without_a_source(tmp_path: Path) -> None:
    async with open_house(tmp_path, allowed=("s3://",)) as house:
        with pytest.raises(NotConfigured, match="reads file"):
            await house.ready("s3://bucket/model")


async def test_hostile_files_publish_nothing(tmp_path: Path) -> None:
    models = {"m": model(tmp_path, "m", Model=5, model=5)}
    async with open_house(tmp_path, models) as house:
        with pytest.raises(InvalidRequest, match="clash"):
            await house.ready("m")
        assert (await house.engine.status()).tree_count == 0
        assert (await house.engine.describe("m")).artifact.state.value == "failed"


@pytest.mark.parametrize("ttl", [0.0, -1.0, float("nan"), float("inf")])
async def test_senseless_times(house: House, ttl: float) -> None:
    with pytest.raises(InvalidRequest):
        await house.ready("fixed", ttl)


async def test_a_lease_is_capped_renewed_and_released(house: House) -> None:
    ready = await house.ready("fixed", 1e9)
    assert ready.lease.ttl == EngineOptions().max_ttl
    assert (await house.engine.renew(ready.lease.id, 60)).ttl == 60
    await house.engine.release(ready.lease.id)
    await house.engine.release(ready.lease.id)
    with pytest.raises(NotFound):
        await house.engine.renew(ready.lease.id, None)


async def test_leases_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.engine.engine.MOST_LEASES", 1)
    ready = await house.ready("fixed")
    with pytest.raises(Busy):
        await house.ready("fixed")
    await house.engine.release(ready.lease.id)
    await house.ready("fixed")


async def test_what_is_held_is_not_evicted(house: House) -> None:
    ready = await house.ready("fixed")
    with pytest.raises(InUse):
        await house.engine.evict("fixed")
    await house.engine.release(ready.lease.id)
    await house.engine.pin("fixed")
    with pytest.raises(InUse):
        await house.engine.evict("fixed")
    await house.engine.unpin("fixed")
    assert await house.engine.evict("fixed") > 3 * MIB
    assert not ready.path.exists()
    with pytest.raises(NotFound):
        await house.engine.evict("fixed")


async def test_the_catalog_pins(tmp_path: Path) -> None:
    models = {"m": model(tmp_path, "m", weights=10) + ", pin: true, revision: v1"}
    async with open_house(tmp_path, models) as house:
        ready = await house.ready("m")
        await house.engine.release(ready.lease.id)
        with pytest.raises(InUse):
            await house.engine.evict("m")
        with pytest.raises(InUse, match="catalog"):
            await house.engine.unpin("m")


async def test_a_model_in_flight_is_not_evicted(house: House) -> None:
    house.source.gate.clear()
    caller = asyncio.create_task(house.ready("fixed"))
    await asyncio.sleep(0.2)
    with pytest.raises(Busy):
        await house.engine.evict("fixed")
    house.source.gate.set()
    await caller


async def test_room_is_made_from_what_was_used_least_recently(tmp_path: Path) -> None:
    models = {name: model(tmp_path, name, weights=MIB) + ", revision: v1" for name in "abc"}
    async with open_house(tmp_path, models, capacity=2 * MIB) as house:
        for name in "aba":
            await house.engine.release((await house.ready(name)).lease.id)
        held = await house.ready("c")
        states = {view.ref: view.state.value for view in await house.engine.list()}
        assert states == {"a@v1": "warm", "b@v1": "cold", "c@v1": "warm"}
        await house.ready("a")
        with pytest.raises(NoSpace) as caught:
            await house.ready("b")
        assert (caught.value.needed, caught.value.held) == (MIB, 2 * MIB)
        assert held.path.is_dir()


async def test_what_is_larger_than_the_cache_evicts_nothing(tmp_path: Path) -> None:
    models = {"small": model(tmp_path, "s", w=MIB), "large": model(tmp_path, "l", w=3 * MIB)}
    async with open_house(tmp_path, models, capacity=2 * MIB) as house:
        small = await house.ready("small")
        await house.engine.release(small.lease.id)
        with pytest.raises(TooLarge):
            await house.ready("large")
        assert small.path.is_dir()


async def test_warm_tells_of_each_and_one_failure_ends_no_other(house: House) -> None:
    last = await house.warm("fixed", "gone", "moving")
    assert isinstance(last["fixed@v1"], Warmed)
    assert last["fixed@v1"].fetched == 3 * MIB + 105
    assert isinstance(last["gone"], NotFound)
    assert isinstance(last["moving"], Warmed)
    again = await house.warm("fixed")
    assert isinstance(again["fixed@v1"], Warmed)
    assert again["fixed@v1"].fetched == 0


async def test_warm_needs_something_known(house: House) -> None:
    with pytest.raises(NotFound):
        await house.warm("fixed", "unknown")
    with pytest.raises(InvalidRequest):
        await house.warm()
    assert house.source.lists == 0, "nothing began"


async def test_warm_goes_on_without_its_caller(house: House) -> None:
    house.source.gate.clear()
    events = [event async for _, event in house.engine.warm(["fixed"], everything=False, wait=False)]
    assert events == [Accepted()]
    async with aclosing(house.engine.warm(["fixed"], everything=False, wait=True)) as watched:
        async for _, event in watched:
            if isinstance(event, Progress):
                break
    house.source.gate.set()
    await house.eventually("fixed", "warm")


async def test_warm_at_start_and_again_when_lost(tmp_path: Path) -> None:
    models = {"m": model(tmp_path, "m", weights=MIB) + ", warm_at_start: true, revision: v1"}
    async with open_house(tmp_path, models) as house:
        await house.eventually("m", "warm")
        (view,) = await house.engine.list()
        assert view.path is not None
        weights = view.path / "weights"
        weights.chmod(0o600)
        with weights.open("r+b") as file:
            file.write(b"garbage")
        events = [event async for event in house.engine.verify("m")]
        assert [found.refs for event in events for found in event.corrupt] == [("m@v1",)]
        assert events[-1].finished
        await house.eventually("m", "warm")


async def test_verify_of_what_is_well(house: House) -> None:
    await house.ready("fixed")
    events = [event async for event in house.engine.verify("")]
    assert events[-1].finished
    assert events[-1].done == events[-1].total == 3 * MIB + 105
    assert not any(event.corrupt for event in events)
    with pytest.raises(NotFound):
        [event async for event in house.engine.verify("moving")]


async def test_drain_lets_flights_end_and_refuses_new_ones(house: House) -> None:
    await house.ready("moving")
    house.source.gate.clear()
    caller = asyncio.create_task(house.ready("fixed"))
    await asyncio.sleep(0.1)
    draining = asyncio.create_task(house.engine.drain(5))
    await asyncio.sleep(0.05)
    with pytest.raises(Draining):
        await house.ready("moving")
    with pytest.raises(Draining):
        await house.warm("moving")
    house.source.gate.set()
    assert (await caller).path.is_dir()
    await draining


async def test_drain_cuts_off_at_the_end_of_its_grace(house: House) -> None:
    house.source.gate.clear()
    caller = asyncio.create_task(house.ready("fixed"))
    await asyncio.sleep(0.1)
    await house.engine.drain(0.1)
    with pytest.raises(Draining, match="cut off"):
        await caller


async def test_status_and_describe(house: House) -> None:
    ready = await house.ready("fixed")
    told = await house.engine.describe("fixed")
    assert told.artifact.path == ready.path
    assert [(view.file.path, view.present) for view in told.files] == [("config", True), ("weights", True)]
    assert [lease.holder for lease in told.leases] == ["test"]
    status = await house.engine.status()
    assert (status.tree_count, status.blob_count, status.lease_count) == (1, 2, 1)
    assert status.space.used >= 3 * MIB
    assert status.catalog.model_count == 3


async def test_what_left_the_catalog_can_still_be_seen_and_evicted(house: House, tmp_path: Path) -> None:
    ready = await house.ready("fixed")
    await house.engine.release(ready.lease.id)
    (tmp_path / "catalog.yaml").write_text("models: {}")
    await house.catalog.load()
    assert [view.ref for view in await house.engine.list()] == ["fixed@v1"]
    with pytest.raises(NotFound):
        await house.ready("fixed")
    await house.engine.evict("fixed@v1")
    assert await house.engine.list() == []
