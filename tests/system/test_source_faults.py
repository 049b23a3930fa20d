"""Sources that change, break off, stall, push back and lie."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest

from cached.core.errors import Corrupt, SourceUnavailable
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, Content, assert_same, make_content, upload
from tests.system.daemon import Daemon

ONE_AT_A_TIME: Mapping[str, Any] = {"transfer": {"connections": 1}}


def _model(
    start: Start,
    s3: S3Server,
    faulty_s3: FaultyServer,
    content: Content,
    *,
    checksum: str = "",
    versioned: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> tuple[Daemon, str]:
    """A daemon whose model `m` is `content`, behind the faulty server; and the bucket."""
    bucket = s3.make_bucket(versioned=versioned)
    upload(s3, bucket, "m", content, checksum=checksum)
    models = {"m": {"source": f"s3://{bucket}/m"}}
    return start(models, server=s3.behind(faulty_s3.endpoint), settings=settings), bucket


@pytest.mark.parametrize("resized", [False, True])
def test_an_object_that_changes_during_the_fetch_is_never_mixed(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, resized: bool
) -> None:
    old = make_content({"a.bin": 12 * MIB, "config.json": 90}, "old")
    new = make_content({"a.bin": (9 if resized else 12) * MIB, "config.json": 90}, "new")
    daemon, bucket = _model(start, s3, faulty_s3, old, settings=ONE_AT_A_TIME)
    faulty_s3.inject(Fault(path="*.bin", before=lambda: upload(s3, bucket, "m", new), skip=4))
    model = daemon.client().acquire("m")
    assert_same(model.path, new)
    assert len({seen.headers["if-match"] for seen in faulty_s3.requests("*.bin")}) == 2, "it did not change"
    assert daemon.metric('cached_flights_ended_total{outcome="SourceChanged"}') == 1
    assert len(list((daemon.root / "trees").iterdir())) == 1


def test_a_version_that_was_resolved_is_the_version_that_is_read(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    old, new = (make_content({"a.bin": 8 * MIB}, seed) for seed in ("old", "new"))
    daemon, bucket = _model(start, s3, faulty_s3, old, versioned=True, settings=ONE_AT_A_TIME)
    faulty_s3.inject(Fault(path="*.bin", before=lambda: upload(s3, bucket, "m", new), skip=3))
    client = daemon.client()
    first = client.acquire("m")
    assert_same(first.path, old)
    second = client.acquire("m")
    assert_same(second.path, new)
    assert_same(first.path, old)


def test_a_source_that_never_settles_is_unavailable(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    daemon, bucket = _model(start, s3, faulty_s3, make_content({"a.bin": 4 * MIB}, 0), settings=ONE_AT_A_TIME)
    count = iter(range(1, 100))
    change = Fault(
        path="*.bin",
        before=lambda: upload(s3, bucket, "m", make_content({"a.bin": 4 * MIB}, next(count))),
        skip=1,
        times=None,
    )
    faulty_s3.inject(change)
    with pytest.raises(SourceUnavailable, match="did not settle"):
        daemon.client().acquire("m")
    assert list((daemon.root / "trees").iterdir()) == []


def test_truncated_bodies_are_asked_for_again(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    content = make_content({"a.bin": 8 * MIB}, "cut")
    daemon, _ = _model(start, s3, faulty_s3, content)
    faulty_s3.inject(Fault(path="*.bin", cut=300_000, times=3))
    faulty_s3.inject(Fault(path="*.bin", cut=0, times=1))
    faulty_s3.inject(Fault(path="*.bin", hang_up=True, times=1))
    assert_same(daemon.client().acquire("m").path, content)
    assert daemon.metric('cached_chunk_retries_total{origin="s3"}') == 5


@pytest.mark.slow
def test_bodies_that_are_always_truncated_end_the_fetch(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    daemon, bucket = _model(start, s3, faulty_s3, make_content({"a.bin": 3 * MIB}, "cut"))
    faulty_s3.inject(Fault(path="*.bin", cut=1000, times=None))
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match=f"{bucket}/m/a.bin"):
        daemon.client().acquire("m")
    assert 2 < time.monotonic() - began < 12
    assert daemon.operator().status().space.used_bytes == 0


def test_a_stall_is_cut_short(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    content = make_content({"a.bin": 8 * MIB}, "stall")
    daemon, _ = _model(start, s3, faulty_s3, content)
    faulty_s3.inject(Fault(path="*.bin", stall=100_000, times=2))
    faulty_s3.inject(Fault(path="*.bin", stall=0, times=1))
    began = time.monotonic()
    assert_same(daemon.client().acquire("m").path, content)
    assert 1 <= time.monotonic() - began < 8
    assert daemon.metric('cached_chunk_retries_total{origin="s3"}') == 3


def test_a_source_that_stalls_for_good_ends_the_fetch(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    daemon, bucket = _model(start, s3, faulty_s3, make_content({"a.bin": 3 * MIB}, "stall"))
    faulty_s3.inject(Fault(path="*.bin", stall=100_000, times=None))
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match=f"{bucket}/m/a.bin"):
        daemon.client().acquire("m")
    assert 3 < time.monotonic() - began < 12
    assert daemon.metric('cached_acquires_total{outcome="SourceUnavailable"}') == 1


@pytest.mark.parametrize("status", [429, pytest.param(503, marks=pytest.mark.slow)])
def test_push_back_with_a_time_is_obeyed(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, status: int
) -> None:
    content = make_content({"a.bin": 6 * MIB}, "slow")
    daemon, _ = _model(start, s3, faulty_s3, content, settings=ONE_AT_A_TIME)
    asked_at = []
    faulty_s3.inject(
        Fault(path="*.bin", status=status, headers={"Retry-After": "2"}, skip=2, times=1),
    )
    faulty_s3.inject(Fault(path="*.bin", before=lambda: asked_at.append(time.monotonic()), times=None))
    assert_same(daemon.client().acquire("m").path, content)
    longest = max(later - earlier for earlier, later in pairwise(asked_at))
    assert 2.0 <= longest < 4


@pytest.mark.parametrize("status", [429, 503, 500, 502, 504])
def test_push_back_without_a_time_is_backed_off_from(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, status: int
) -> None:
    content = make_content({"a.bin": 4 * MIB}, "slow")
    daemon, _ = _model(start, s3, faulty_s3, content)
    faulty_s3.inject(Fault(path="*.bin", status=status, times=4))
    assert_same(daemon.client().acquire("m").path, content)
    assert daemon.metric('cached_chunk_retries_total{origin="s3"}') == 4


def test_push_back_beyond_patience_ends_the_fetch_at_once(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    daemon, _ = _model(start, s3, faulty_s3, make_content({"a.bin": MIB}, "slow"))
    faulty_s3.inject(Fault(path="*.bin", status=503, headers={"Retry-After": "3600"}, times=None))
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="503"):
        daemon.client().acquire("m")
    assert time.monotonic() - began < 3


def test_push_back_on_listings_and_heads(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    content = make_content({"a.bin": 10}, "slow")
    daemon, bucket = _model(start, s3, faulty_s3, content)
    faulty_s3.inject(Fault(path=f"/{bucket}*", method="", status=503, times=2))
    faulty_s3.inject(Fault(method="HEAD", status=503, times=1))
    assert_same(daemon.client().acquire("m").path, content)


def test_bytes_that_are_not_what_the_checksum_says(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    content = make_content({"a.bin": 5 * MIB, "b.json": 10}, "wrong")
    daemon, bucket = _model(start, s3, faulty_s3, content, checksum="SHA256")
    client = daemon.client()
    faulty_s3.inject(Fault(path="*.bin", flip=7, times=1))
    model = client.acquire("m")
    assert_same(model.path, content)
    model.release()
    daemon.operator().evict("m")

    faulty_s3.inject(Fault(path="*.bin", flip=7, times=None))
    with pytest.raises(Corrupt, match=f"{bucket}/m/a.bin|sha256:") as refused:
        client.acquire("m")
    assert refused.value.hint
    assert list((daemon.root / "trees").iterdir()) == []
    faulty_s3.heal()
    assert_same(client.acquire("m").path, content)


@pytest.mark.parametrize("checksum", ["CRC32", "CRC32C", "CRC64NVME"])
def test_bytes_that_are_not_what_the_crc_says(
    start: Start, s3: S3Server, faulty_s3: FaultyServer, checksum: str
) -> None:
    content = make_content({"a.bin": 3 * MIB}, "wrong")
    daemon, _ = _model(start, s3, faulty_s3, content, checksum=checksum)
    faulty_s3.inject(Fault(path="*.bin", flip=MIB - 1, times=None))
    with pytest.raises(Corrupt):
        daemon.client().acquire("m")


def test_what_is_pinned_and_warm_needs_no_source(start: Start, s3: S3Server) -> None:
    content = make_content({"a.bin": MIB, "b.bin": 5}, "down")
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", content)
    models = {
        "pinned": {"source": f"s3://{bucket}/m", "revision": "v1"},
        "moving": {"source": f"s3://{bucket}/m"},
        "cold": {"source": f"s3://{bucket}/m", "include": ["a.bin"]},
    }
    with FaultyServer(s3.endpoint) as door:
        daemon = start(models, server=s3.behind(door.endpoint))
        client = daemon.client()
        warm = client.acquire("pinned")
        assert not client.acquire("moving").stale
    began = time.monotonic()
    again = client.acquire("pinned")
    assert time.monotonic() - began < 0.5
    assert (again.path, again.stale) == (warm.path, False)
    stale = client.acquire("moving")
    assert (stale.path, stale.stale) == (warm.path, True)
    with pytest.raises(SourceUnavailable, match=f"s3://{bucket}/m"):
        client.acquire("cold")
    daemon.cachectl("get", "cold", code=6)

    daemon.restart()
    assert_same(daemon.client().acquire("pinned").path, content)
    assert daemon.client().acquire("moving").stale
