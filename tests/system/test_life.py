"""Start, drain, stop, restart: the daemon's life, as systemd and its users see it."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cached.client import Unreachable
from cached.core.errors import Draining
from tests.servers.faults import Fault
from tests.servers.faulty import FaultyServer
from tests.servers.s3 import S3Server
from tests.system.conftest import Start
from tests.system.content import MIB, assert_same, make_content, upload
from tests.system.daemon import Daemon
from tests.system.waiting import eventually


def test_two_daemons_on_one_directory(start: Start, s3: S3Server) -> None:
    first = start({})
    second = start({}, settings={"root": str(first.root)}, launch=False)
    second.launch()
    assert second.wait() != 0
    assert f"process {first.pid}" in second.log
    assert str(first.root) in second.log
    assert "Traceback" not in second.log
    assert first.operator().serving()
    first.kill9()
    second.start()
    assert second.operator().serving()


def test_two_daemons_on_one_socket_directory(start: Start, s3: S3Server) -> None:
    first = start({})
    second = start({}, settings={"sockets": {"directory": str(first.sockets)}}, launch=False)
    second.launch()
    assert second.wait() != 0
    assert str(first.sockets) in second.log
    assert first.operator().serving(), "the second took the first one's socket away"


def _slow_model(start: Start, s3: S3Server, faulty_s3: FaultyServer, grace: float) -> Daemon:
    """A cold model `m` of 4 MiB that takes about two seconds, and a warm one `w`."""
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"a.bin": 4 * MIB}, "drain"))
    upload(s3, bucket, "w", make_content({"b.json": 10}, "drain"))
    daemon = start(
        {"m": {"source": f"s3://{bucket}/m"}, "w": {"source": f"s3://{bucket}/w"}},
        server=s3.behind(faulty_s3.endpoint),
        settings={"drain_timeout": grace},
    )
    daemon.client().acquire("w").release()
    faulty_s3.inject(Fault(path="*.bin", rate=MIB / 2, times=None))
    return daemon


def _await_flight(daemon: Daemon) -> None:
    operator = daemon.operator()
    eventually(lambda: operator.status().flight_count > 0)


def test_a_drain_lets_what_runs_finish_and_refuses_the_rest(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    daemon = _slow_model(start, s3, faulty_s3, grace=20)
    client, late = daemon.client(), daemon.client()
    operator = daemon.operator()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.acquire, "m")
        _await_flight(daemon)
        daemon.signal(signal.SIGTERM)
        eventually(lambda: not operator.serving())
        assert operator.status().draining
        with pytest.raises((Draining, Unreachable)):
            late.acquire("w")
        daemon.cachectl("health", code=12)
        assert_same(running.result().path, make_content({"a.bin": 4 * MIB}, "drain"))
    assert daemon.wait() == 0
    assert not (daemon.sockets / "pods" / "cached.sock").exists()
    with pytest.raises(Unreachable):
        daemon.operator().status()
    daemon.cachectl("health", code=7)


def test_a_drain_ends_when_its_grace_is_over(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _slow_model(start, s3, faulty_s3, grace=0.5)
    client = daemon.client()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.acquire, "m")
        _await_flight(daemon)
        time.sleep(0.8)  # so that there are chunks to keep
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        with pytest.raises(Draining, match="m"):
            running.result()
        assert daemon.wait() == 0
    assert time.monotonic() - began < 4
    assert "Traceback" not in daemon.log


def test_a_second_signal_ends_it_at_once(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    daemon = _slow_model(start, s3, faulty_s3, grace=60)
    client = daemon.client()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.acquire, "m")
        _await_flight(daemon)
        daemon.signal(signal.SIGTERM)
        time.sleep(0.3)
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        assert daemon.wait() == 128 + signal.SIGTERM
        assert time.monotonic() - began < 1
        with pytest.raises((Unreachable, Draining)):
            running.result()
    faulty_s3.heal()
    daemon.start()
    assert_same(daemon.client().acquire("m").path, make_content({"a.bin": 4 * MIB}, "drain"))


def test_a_client_that_waits_gets_over_a_restart(start: Start, s3: S3Server, faulty_s3: FaultyServer) -> None:
    """An upgrade of the daemon in the middle of a fetch is a pause to a pod, not an error."""
    daemon = _slow_model(start, s3, faulty_s3, grace=0.2)
    client = daemon.client(wait=30)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.acquire, "m")
        _await_flight(daemon)
        daemon.terminate()
        faulty_s3.heal()
        daemon.start()
        assert_same(running.result(20).path, make_content({"a.bin": 4 * MIB}, "drain"))


def test_leases_outlive_the_daemon(start: Start, s3: S3Server) -> None:
    bucket = s3.make_bucket()
    upload(s3, bucket, "m", make_content({"a.json": 10}, "lease"))
    daemon = start({"m": {"source": f"s3://{bucket}/m", "revision": "v1"}})
    client = daemon.client(holder="pod-7")
    model = client.acquire("m", ttl=600)
    for end in (daemon.terminate, daemon.kill9):
        end()
        daemon.start()
        told = daemon.operator().describe("m")
        assert [lease.holder for lease in told.leases] == ["pod-7"]
        assert abs(told.leases[0].expire_time.seconds - model.expires_at) < 5
        daemon.cachectl("evict", "m", code=9)
    model.release()
    assert daemon.operator().status().lease_count == 0
    daemon.operator().evict("m")


def test_what_systemd_is_told(start: Start, s3: S3Server, tmp_path: Path) -> None:
    address = f"\0cached-test-{tmp_path.name}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(10)
        environment = {"NOTIFY_SOCKET": address.replace("\0", "@"), "WATCHDOG_USEC": "400000"}
        daemon = start({}, environment=environment, launch=False)
        daemon.launch()

        def told(wanted: str) -> list[str]:
            messages: list[str] = []
            while not messages or wanted not in messages[-1].split("\n"):
                messages.append(systemd.recv(4096).decode())
            return messages

        told("READY=1")
        assert daemon.operator().serving(), "ready must mean serving"
        began = time.monotonic()
        for _ in range(4):
            told("WATCHDOG=1")
        assert time.monotonic() - began < 1.6, "the watchdog would have fired"
        daemon.signal()
        told("STOPPING=1")
        assert daemon.wait() == 0


def test_warm_at_start_makes_ready_wait_for_nothing(
    start: Start, s3: S3Server, faulty_s3: FaultyServer
) -> None:
    bucket = s3.make_bucket()
    content = make_content({"a.bin": 2 * MIB}, "at start")
    upload(s3, bucket, "m", content)
    faulty_s3.inject(Fault(path="*.bin", rate=MIB, times=None))
    models = {
        "m": {"source": f"s3://{bucket}/m", "warm_at_start": True},
        "broken": {"source": "s3://no-such-bucket/m", "warm_at_start": True},
    }
    daemon = start(models, server=s3.behind(faulty_s3.endpoint))
    assert daemon.operator().describe("m").artifact.state != 3, "it waited"
    operator = daemon.operator()
    eventually(lambda: operator.describe("m").artifact.state == 3)
    broken = operator.describe("broken").artifact
    assert broken.state == 4
    assert "no-such-bucket" in broken.last_error
