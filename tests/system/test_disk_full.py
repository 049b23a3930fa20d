"""A disk that others fill: figures, their bytes untouched, and a node that stays well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cached.core.errors import NoSpace
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, assert_same, make_content, upload
from tests.system.daemon import Daemon
from tests.system.disks import Disk
from tests.system.truth import look
from tests.system.waiting import eventually

SMALL = make_content({"s.bin": 4 * MIB, "s.json": 10}, "small")
BIG = make_content({f"b-{n}.bin": 2 * MIB for n in range(16)}, "big")


@pytest.fixture
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    """ext4, or what `on_every_kind` says."""
    kind, size = getattr(request, "param", ("ext4", 96))
    with Disk(tmp_path, kind, size * MIB) as mounted:
        yield mounted


on_every_kind = pytest.mark.parametrize(
    "disk", [("tmpfs", 96), ("ext4", 96), ("xfs", 320)], ids=lambda param: param[0], indirect=True
)


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """With both models; nobody changes it."""
    bucket = s3.make_bucket()
    upload(s3, bucket, "small", SMALL)
    upload(s3, bucket, "big", BIG)
    return bucket


@pytest.fixture
def daemon(start: Start, disk: Disk, bucket: str, s3: S3Server, faulty_s3: FaultyServer) -> Daemon:
    """Its data directory is on the small disk, with a warm model `small` and a cold one `big`."""
    daemon = start(
        {name: {"source": f"s3://{bucket}/{name}", "revision": "v1"} for name in ("small", "big")},
        server=s3.behind(faulty_s3.endpoint),
        settings={"root": str(disk.path / "cache"), "capacity": "1GiB"},
    )
    assert_same(daemon.client().acquire("small", ttl=600).path, SMALL)
    return daemon


def test_no_room_is_refused_before_a_byte_moves(daemon: Daemon, disk: Disk, faulty_s3: FaultyServer) -> None:
    theirs = disk.fill("theirs", leave=20 * MIB)
    before = theirs.read_bytes()
    client = daemon.client()
    with pytest.raises(NoSpace) as refused:
        client.acquire("big")
    assert refused.value.needed == 32 * MIB
    assert 16 * MIB < refused.value.free < 20 * MIB + 4096, "`leave` is met to a block"
    assert refused.value.held == 4 * MIB + 4096
    assert faulty_s3.sent("*/big/*") == 0
    assert theirs.read_bytes() == before
    assert daemon.operator().serving()
    assert_same(client.acquire("small").path, SMALL)
    theirs.unlink()
    assert_same(client.acquire("big").path, BIG)


def test_min_free_is_left_to_others(daemon: Daemon, disk: Disk) -> None:
    daemon.settings["min_free"] = disk.free - 20 * MIB
    daemon.restart()
    with pytest.raises(NoSpace):
        daemon.client().acquire("big")
    space = daemon.operator().status().space
    assert space.min_free_bytes == daemon.settings["min_free"]
    assert disk.free > space.min_free_bytes
    disk.fill("theirs", leave=space.min_free_bytes - MIB)
    assert any("min_free" in warning for warning in daemon.operator().status().warnings)
    assert_same(daemon.client().acquire("small").path, SMALL)


@on_every_kind
def test_a_disk_that_fills_up_during_the_fetch(daemon: Daemon, disk: Disk, faulty_s3: FaultyServer) -> None:
    """Others race us to the last byte. We lose, and say so; a later call goes on where this one ended."""
    theirs: list[Path] = []
    faulty_s3.inject(
        Fault(path="*/big/*", before=lambda: theirs.append(disk.fill("theirs", leave=0)), skip=3, times=1)
    )
    faulty_s3.inject(Fault(path="*/big/*", rate=4 * MIB, times=None))
    client, operator = daemon.client(), daemon.operator()
    with pytest.raises(NoSpace) as refused:
        client.acquire("big")
    assert refused.value.hint
    before = theirs[0].read_bytes()
    assert set(before) <= set(b"others\0")
    assert operator.serving()
    status = operator.status()
    assert (status.flight_count, status.tree_count) == (0, 1)
    faulty_s3.heal()
    theirs[0].unlink()
    faulty_s3.forget()
    assert_same(client.acquire("big").path, BIG)
    assert faulty_s3.sent("*/big/*") < 32 * MIB, "nothing was resumed"
    assert operator.status().space.used_bytes == look(daemon.root).used


@on_every_kind
def test_a_disk_without_a_single_byte(daemon: Daemon, disk: Disk, faulty_s3: FaultyServer) -> None:
    """Even the index cannot grow. What is warm is served all the same, and all is well once there is room."""
    theirs = disk.fill("theirs", leave=0)
    client, operator = daemon.client(), daemon.operator()
    for _ in range(50):
        with client.acquire("small") as model:
            assert model.path.is_dir()
    held = client.acquire("small", ttl=600)
    assert_same(held.path, SMALL)
    with pytest.raises(NoSpace):
        client.acquire("big")
    assert operator.serving()
    theirs.unlink()
    eventually(lambda: not operator.status().warnings)  # what was to be written behind is tried again
    daemon.kill9()
    daemon.start()
    assert daemon.operator().status().lease_count == 2, "leases were not written down afterwards"
    assert_same(daemon.client().acquire("big").path, BIG)


def test_a_start_on_a_full_disk(daemon: Daemon, disk: Disk) -> None:
    daemon.kill9()
    theirs = disk.fill("theirs", leave=0)
    try:
        daemon.start()
    except AssertionError:
        assert "hint: " in daemon.log
        assert "Traceback" not in daemon.log
    else:
        assert_same(daemon.client().acquire("small").path, SMALL)
        daemon.kill9()
    theirs.unlink()
    daemon.start()
    assert_same(daemon.client().acquire("small").path, SMALL)
    assert_same(daemon.client().acquire("big").path, BIG)


def test_idle_models_go_when_others_take_the_disk(daemon: Daemon, disk: Disk, s3: S3Server) -> None:
    """The capacity would allow both, the disk does not."""
    bucket = s3.make_bucket()
    more = make_content({"m.bin": 24 * MIB}, "more")
    upload(s3, bucket, "more", more)
    daemon.settings["allow_sources"] = [f"s3://{bucket}/"]
    daemon.settings["sources"]["s3"]["endpoint"] = s3.endpoint
    daemon.restart()
    client, operator = daemon.client(), daemon.operator()
    client.acquire("big").release()
    theirs = disk.fill("theirs", leave=8 * MIB)
    before = theirs.read_bytes()
    assert_same(client.acquire(f"s3://{bucket}/more").path, more)
    assert operator.describe("big").artifact.state == 1
    assert operator.describe("small").artifact.state == 3, "it is leased"
    assert daemon.metric('cached_evictions_total{reason="min_free"}') == 1
    assert theirs.read_bytes() == before
