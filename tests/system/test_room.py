"""The byte budget: what is refused, what goes, and what stays."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cached.client import Model
from cached.core.errors import InUse, NoSpace, TooLarge
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import Content, assert_same, make_content, upload
from tests.system.daemon import Daemon
from tests.system.truth import look

UNIT = 64 << 10
SIZES = {"a": 12, "b": 12, "c": 12, "wide": 20, "huge": 41}
CONTENTS: Mapping[str, Content] = {
    name: make_content({"w.bin": size * UNIT}, name) for name, size in SIZES.items()
}


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """All of CONTENTS by name."""
    made = s3.make_bucket()
    for name, content in CONTENTS.items():
        upload(s3, made, name, content)
    return made


def _models(bucket: str) -> dict[str, dict[str, Any]]:
    return {name: {"source": f"s3://{bucket}/{name}", "revision": "v1"} for name in CONTENTS}


def _daemon(start: Start, s3: S3Server, faulty: FaultyServer, bucket: str) -> Daemon:
    """Room for 40 units: three of the small ones, and four units."""
    return start(_models(bucket), server=s3.behind(faulty.endpoint), settings={"capacity": 40 * UNIT})


def _warm(daemon: Daemon) -> set[str]:
    return {artifact.ref.partition("@")[0] for artifact in daemon.operator().list() if artifact.state == 3}


def _use(daemon: Daemon, *names: str) -> None:
    """Fetch and let go, in this order."""
    client = daemon.client()
    for name in names:
        with client.acquire(name) as model:
            assert_same(model.path, CONTENTS[name])


def _hold(daemon: Daemon, *names: str) -> list[Model]:
    client = daemon.client()
    return [client.acquire(name) for name in names]


def test_a_model_larger_than_the_whole_cache(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    _use(daemon, "a", "b", "c")
    with pytest.raises(TooLarge, match="huge"):
        daemon.client().acquire("huge")
    assert _warm(daemon) == {"a", "b", "c"}
    assert faulty_s3.sent("*/huge/*") == 0
    daemon.cachectl("get", "huge", code=5)


def test_a_cache_full_of_held_models(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    held = _hold(daemon, "a", "b", "c")
    with pytest.raises(NoSpace) as refused:
        daemon.client().acquire("wide")
    assert (refused.value.needed, refused.value.free, refused.value.held) == (20 * UNIT, 4 * UNIT, 36 * UNIT)
    assert refused.value.hint
    assert _warm(daemon) == {"a", "b", "c"}
    assert faulty_s3.sent("*/wide/*") == 0
    space = daemon.operator().status().space
    assert (space.used_bytes, space.held_bytes, space.reserved_bytes) == (36 * UNIT, 36 * UNIT, 0)
    daemon.cachectl("get", "wide", code=5)

    held[1].release()
    with pytest.raises(NoSpace) as refused:
        daemon.client().acquire("wide")
    assert refused.value.held == 24 * UNIT
    assert _warm(daemon) == {"a", "b", "c"}, "evicted in vain"
    held[0].release()
    assert_same(daemon.client().acquire("wide").path, CONTENTS["wide"])
    assert _warm(daemon) == {"c", "wide"}


def test_the_least_recently_used_goes_first(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    _use(daemon, "a", "b", "c", "a")
    _use(daemon, "wide")
    assert _warm(daemon) == {"a", "wide"}
    assert daemon.metric('cached_evictions_total{reason="capacity"}') == 2
    assert daemon.metric('cached_evicted_bytes_total{reason="capacity"}') == 24 * UNIT
    daemon.restart()
    _use(daemon, "a")
    _use(daemon, "b")
    assert _warm(daemon) == {"a", "b"}, "the order of use did not survive the restart"
    truth = look(daemon.root)
    assert (truth.used, len(truth.trees), truth.stray) == (24 * UNIT, 2, ())


def test_what_is_pinned_or_leased_stays(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    operator = daemon.operator()
    _use(daemon, "a", "b", "c")
    operator.pin("a")
    with daemon.client().acquire("b"):
        for name, said in (("a", "pin"), ("b", "lease")):
            with pytest.raises(InUse, match=said):
                operator.evict(name)
        with pytest.raises(NoSpace):
            daemon.client().acquire("wide")
        _use(daemon, "c")
    daemon.restart()
    _use(daemon, "wide")
    assert _warm(daemon) == {"a", "wide"}
    daemon.operator().unpin("a")
    assert daemon.operator().evict("a") == 12 * UNIT
    assert _warm(daemon) == {"wide"}


def test_a_pin_of_the_catalog_holds_until_the_catalog_says_otherwise(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    models = _models(bucket)
    daemon.write_catalog(models | {"a": models["a"] | {"pin": True}})
    daemon.restart()
    _use(daemon, "a")
    with pytest.raises(InUse):
        daemon.operator().evict("a")
    with pytest.raises(InUse, match="catalog"):
        daemon.operator().unpin("a")
    daemon.write_catalog(models)
    daemon.restart()
    assert daemon.operator().evict("a") == 12 * UNIT


def test_a_blob_in_two_trees_counts_once(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    bucket = s3.make_bucket()
    content = make_content({"big.bin": 10 * UNIT, "x.json": 100, "y.json": 200}, "shared")
    upload(s3, bucket, "m", content)
    daemon = start(
        {
            "x": {"source": f"s3://{bucket}/m", "exclude": ["y.json"]},
            "y": {"source": f"s3://{bucket}/m", "exclude": ["x.json"]},
        },
        server=s3.behind(faulty_s3.endpoint),
        settings={"capacity": 12 * UNIT},
    )
    client = daemon.client()
    paths = []
    for name, other in (("x", "y"), ("y", "x")):
        with client.acquire(name) as model:
            assert_same(model.path, {p: d for p, d in content.items() if p != f"{other}.json"})
            paths.append(model.path)
    assert faulty_s3.sent("*/big.bin") == 10 * UNIT
    assert daemon.operator().status().space.used_bytes == look(daemon.root).used == 10 * UNIT + 2 * 4096
    assert daemon.operator().evict("x") == 4096
    assert (paths[1] / "big.bin").stat().st_size == 10 * UNIT
    assert daemon.operator().evict("y") == 10 * UNIT + 4096
    assert look(daemon.root).used == 0


def test_two_models_that_share_a_blob_fetch_it_once_between_them(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    bucket = s3.make_bucket()
    content = make_content({"big.bin": 3 << 20, "x.json": 100, "y.json": 200}, "both")
    upload(s3, bucket, "m", content)
    faulty_s3.inject(Fault(path="*/big.bin", rate=4 << 20, times=None))
    daemon = start(
        {
            "x": {"source": f"s3://{bucket}/m", "exclude": ["y.json"]},
            "y": {"source": f"s3://{bucket}/m", "exclude": ["x.json"]},
        },
        server=s3.behind(faulty_s3.endpoint),
        settings={"capacity": 4 << 20},
    )
    client = daemon.client()
    with ThreadPoolExecutor(2) as pool:
        x, y = pool.map(client.acquire, ("x", "y"))
    assert (x.path / "big.bin").samefile(y.path / "big.bin")
    assert faulty_s3.sent("*/big.bin") == 3 << 20
    assert daemon.metric('cached_flights_ended_total{outcome="ok"}') == 2


def test_a_capacity_that_was_lowered_holds_from_the_start(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, bucket: str
) -> None:
    daemon = _daemon(start, s3, faulty_s3, bucket)
    held = _hold(daemon, "a")
    _use(daemon, "b", "c", "b")
    daemon.settings["capacity"] = 25 * UNIT
    daemon.restart()
    assert _warm(daemon) == {"a", "b"}
    daemon.settings["capacity"] = 10 * UNIT
    daemon.restart()
    assert _warm(daemon) == {"a"}, "what is leased stays, even beyond the capacity"
    assert any("capacity" in warning for warning in daemon.operator().status().warnings)
    assert_same(held[0].path, CONTENTS["a"])
    assert look(daemon.root).used == 12 * UNIT
