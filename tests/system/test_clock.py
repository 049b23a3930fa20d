"""The wall clock jumps while the daemon runs; decisions must not."""

from __future__ import annotations

import time
from pathlib import Path

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from cached._proto.v1.cache_pb2 import AcquireRequest
from cached._proto.v1.cache_pb2_grpc import CacheServiceStub
from cached.core.errors import InUse
from tests.system.conftest import Start
from tests.system.content import assert_same, make_content
from tests.system.daemon import Daemon
from tests.system.waiting import eventually

_DAY = 86400
_SIZE = 100 * 1024
CONTENTS = {name: make_content({"w.bin": _SIZE}, name) for name in ("a", "b", "c", "held", "new")}


class Clock:
    """The wall clock of one daemon, in days from now.

    Its interpreter runs `sitecustomize` first, which shifts time.time(). (libfaketime would shift more, but
    it breaks sleeps of threads on the way.)
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._shift = directory / "days"
        self.set(0)
        (directory / "sitecustomize.py").write_text(
            "import time\n"
            "real = time.time\n"
            f"time.time = lambda: real() + 86400 * int(open({str(self._shift)!r}).read() or 0)\n"
        )
        self.environment = {"PYTHONPATH": str(directory)}

    def set(self, days: int) -> None:
        self._shift.write_text(str(days))
        self.days = days

    def now(self) -> float:
        return time.time() + self.days * _DAY


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path / "clock")


@pytest.fixture
def daemon(start: Start, tmp_path: Path, clock: Clock) -> Daemon:
    """Room for four models, from directories: a wrong clock would also spoil signatures for S3."""
    for name, content in CONTENTS.items():
        (tmp_path / name).mkdir()
        for path, data in content.items():
            (tmp_path / name / path).write_bytes(data)
    models = {name: {"source": f"file://{tmp_path}/{name}", "revision": "v1"} for name in CONTENTS}
    return start(models, settings={"capacity": 4 * _SIZE}, environment=clock.environment)


def _warm(daemon: Daemon) -> set[str]:
    return {artifact.ref.partition("@")[0] for artifact in daemon.operator().list() if artifact.state == 3}


@pytest.mark.parametrize("days", [-400, +400])
def test_eviction_goes_by_the_order_of_use(daemon: Daemon, clock: Clock, days: int) -> None:
    client = daemon.client()
    for name in ("held", "a", "b", "c"):
        client.acquire(name).release()
    clock.set(days)
    with client.acquire("held") as held, client.acquire("a"):
        pass
    used = daemon.operator().describe("a").artifact.last_use_time.seconds
    assert abs(used - clock.now()) < 60, "the daemon's clock was not set: the test shows nothing"
    clock.set(0)
    assert_same(client.acquire("new").path, CONTENTS["new"])
    assert _warm(daemon) == {"held", "a", "c", "new"}
    clock.set(-days)
    daemon.restart()
    assert_same(daemon.client().acquire("b").path, CONTENTS["b"])
    assert _warm(daemon) == {"held", "a", "new", "b"}
    assert held.path.is_dir()


@pytest.mark.parametrize("days", [-400, pytest.param(+400, marks=pytest.mark.slow)])
def test_leases_last_as_long_as_was_granted(daemon: Daemon, clock: Clock, days: int) -> None:
    operator = daemon.operator()
    held = daemon.client().acquire("held", ttl=60)
    with grpc.insecure_channel(daemon.pods_address) as channel:
        list(CacheServiceStub(channel).Acquire(AcquireRequest(ref="a", ttl=Duration(seconds=3))))
    assert operator.status().lease_count == 2
    clock.set(days)
    time.sleep(1.5)
    assert operator.status().lease_count == 2, "a lease ended before its time"
    eventually(lambda: operator.status().lease_count == 1, 4)
    operator.evict("a")

    daemon.restart()
    leases = daemon.operator().describe("held").leases
    assert len(leases) == 1
    assert leases[0].expire_time.seconds - clock.now() <= 61, "a lease grew by a jump of the clock"
    with pytest.raises(InUse):
        daemon.operator().evict("held")
    held.release()
    daemon.operator().evict("held")
